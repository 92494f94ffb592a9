//! Bringing the changes of a side that went its own way back into the cluster.
//!
//! Two logs have the same entries up to the fork. From there on each key is compared three ways: as it was at the fork, as the
//! cluster has it now, and as the other side has it. `view.rs` finds out what a side knows of a key, `verdict.rs` says what
//! to do with it, `policy.rs` decides where both sides changed it, and `plan.rs` goes through all keys. Nothing here reads a
//! clock or a disk, or changes either side: it makes proposals.

mod admission;
mod base;
mod key_state;
mod knowledge;
mod left_out;
mod plan;
mod plan_file;
mod policy;
mod resolver;
mod verdict;
mod view;

pub use admission::{Parting, Refusal, admit};
pub use base::{Base, BaseState, changed_by_both};
pub use key_state::{KeyState, Written};
pub use knowledge::{Entry, Fate, Knowledge, Lifetime};
pub use left_out::left_out;
pub use plan::{Counts, PlanError, Proposal, Settled, plan};
pub use plan_file::{
    Choice, Decision, PlanFooter, PlanHeader, PlanLine, PlanWriter, SideHeader, read_actions, read_plan,
};
pub use policy::{Change, Deletes, Policy, PrefixRule, Rule, Rules, Side};
pub use resolver::Resolver;
pub use verdict::{Action, Case, Guard, NotTheSame, Terms, Verdict, judge};
pub use view::{Clock, Merged, View};
