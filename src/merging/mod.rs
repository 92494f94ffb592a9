//! Carrying a reconciliation out: opens the two sides, writes the plan to a file, and has the cluster apply it in steps. The
//! rules are in `reconcile`.

mod apply;
mod attach;
mod losers;
mod plan;
mod records;
mod sides;
mod steps;

pub use crate::reconcile::Policy;
pub use apply::{Applied, Undecided, apply};
pub use attach::{AttachRequest, Attached, attach, attach_error};
pub use losers::{Loser, Losers, losers};
pub use plan::{Planned, Tail, plan, written_aside};
pub use sides::{Side, save_backup};
