//! Reconciling two sides, judged by tests that hold both logs.
//!
//! `cases.rs` names every way in which two sides can stand to each other, `algebra.rs` checks that the result does not depend
//! on who comes first, and `exhaustive.rs` plays all short logs and compares with an oracle that saw everything happen.
//!
//! Every case has a number, and a test that is named after it (`row_8_…`). They are: 1 to 16, what became of the key on either side;
//! 17 a clear; 18 an expired change; 19 a lifetime only; 20 a deadline that reads moved; 21 uses; 22 counters; 24 settings; 25
//! batches; 31 clocks; 32 what does not fit; 33 a key that was changed after the plan; 34 what both have from a third. About logs and not
//! about keys, and so elsewhere: 26 what a lost majority had acknowledged (`cluster::recover`); 27 a tail and 30 several folders of one side
//! (`cluster::old_folders`); 28 entries that both have and 29 a tail that a survivor took over (`lineage/fork.rs`); 35 a side that is
//! behind (`cluster::reconcile`). 23, idempotency keys, is a limit that docs/divergence.md states.

mod algebra;
mod cases;
mod exhaustive;
mod left_out;
mod oracle;
mod passes;
mod rows;
mod steps;
