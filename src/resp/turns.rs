//! Whose turn it is to try out a command on a key. Without turns, those of one node would undo each other's work where many want the same key.
//! Scripts that wait for their turn are carried out by whoever has it, together with its own: [`super::together`].

use super::reply::Reply;
use super::together::Waiter;
use crate::cache::Key;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

const STRIPES: usize = 256;

/// See the module. Keys share turns by chance.
#[derive(Debug)]
pub(super) struct Turns {
    stripes: Vec<Stripe>,
    hasher: RandomState,
}

/// The turns of some keys.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    turn: Mutex<()>,
    waiting: std::sync::Mutex<VecDeque<Waiter>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Stripe::default()).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    pub fn of(&self, key: &Key) -> &Stripe {
        &self.stripes[self.hasher.hash_one(key.as_str()) as usize % STRIPES]
    }
}

impl Stripe {
    /// Waits for the turn, which ends when what this returns is dropped.
    ///
    /// # Errors
    /// It takes too long. Nothing was done.
    pub async fn wait(&self, until: Instant) -> Result<MutexGuard<'_, ()>, Reply> {
        timeout_at(until, self.turn.lock())
            .await
            .map_err(|_| Reply::error("UNAVAILABLE nothing was done: too many scripts want the same key"))
    }

    /// Has a script wait.
    pub fn add(&self, waiter: Waiter) {
        self.waiting.lock().expect("no panic while held").push_back(waiter);
    }

    /// The script with this number, if nobody has taken it.
    pub fn remove(&self, number: u64) -> Option<Waiter> {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        let at = waiting.iter().position(|waiter| waiter.number == number)?;
        waiting.remove(at)
    }

    /// The oldest scripts that can be carried out with this one, which has been taken.
    pub fn take_with(&self, first: &Waiter, count: usize) -> Vec<Waiter> {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        let mut taken = Vec::new();
        let mut left = VecDeque::with_capacity(waiting.len());
        for waiter in waiting.drain(..) {
            match taken.len() < count && waiter.goes_with(first) {
                true => taken.push(waiter),
                false => left.push_back(waiter),
            }
        }
        *waiting = left;
        taken
    }
}

/// How long a command may wait for its turn, and be tried again. With the time for its log entry that is less than clients wait.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// When a command that comes now has waited for too long.
pub(super) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}
