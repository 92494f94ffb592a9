//! Going on after the loss of a majority: which survivor's log becomes the start of a new history, and what may be lost by it.
//!
//! `survivor.rs` is what a survivor's folder says of itself, `plan.rs` refuses or decides, `loss.rs` says what is kept. Nothing
//! here reads a clock, a disk or the network.

mod loss;
mod plan;
mod survivor;

pub use loss::Loss;
pub use plan::{PLAN_VERSION, Plan, Refusal, Survives, plan};
pub use survivor::{
    FolderState, LastEntry, MembershipAt, NamedMember, SURVIVOR_VERSION, Survivor, TailChange,
};
