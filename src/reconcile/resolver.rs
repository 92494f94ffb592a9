//! Whoever decides conflicts beside the rules: a list of decisions, or a function of the program that a node is part of.

use super::plan_file::{Choice, Decision, PlanLine};
use std::collections::BTreeMap;

/// Decides conflicts while a plan is made, never while one is applied. What it does not decide, the rules do.
///
/// It is asked for each key that both sides changed in ways that differ, and not where both removed it. If it is to find the same whoever
/// of the two sides goes on, it must not depend on which of the two values is live's.
pub trait Resolver: Send + Sync {
    /// What becomes of the key, or `None` if the rules decide.
    fn resolve(&self, conflict: &PlanLine) -> Option<Choice>;
}

/// Decisions by key. One that was made about other values than there are now decides nothing.
impl Resolver for BTreeMap<String, Decision> {
    fn resolve(&self, conflict: &PlanLine) -> Option<Choice> {
        let decision = self.get(conflict.key.as_str()).filter(|decision| decision.is_about(conflict));
        decision.map(|decision| decision.choice.clone())
    }
}

/// The rules decide everything.
impl Resolver for () {
    fn resolve(&self, _: &PlanLine) -> Option<Choice> {
        None
    }
}

/// The first of two that decides.
impl<A: Resolver + ?Sized, B: Resolver + ?Sized> Resolver for (std::sync::Arc<A>, std::sync::Arc<B>) {
    fn resolve(&self, conflict: &PlanLine) -> Option<Choice> {
        self.0.resolve(conflict).or_else(|| self.1.resolve(conflict))
    }
}
