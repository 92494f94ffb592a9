//! Reconciling two sides, judged by tests that hold both logs.
//!
//! `cases.rs` names every way in which two sides can stand to each other, `algebra.rs` checks that the result does not depend
//! on who comes first, and `exhaustive.rs` plays all short logs and compares with an oracle that saw everything happen.

mod algebra;
mod cases;
mod exhaustive;
mod oracle;
mod passes;
mod rows;
mod steps;
