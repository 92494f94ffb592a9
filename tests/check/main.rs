//! Tests of the checker: whoever judges must be judged first.
//!
//! `oracle.rs` compares with an exhaustive search over small histories, `second_opinion.rs` with another
//! checker over longer ones. `mutations.rs` plants faults in long histories that are right. The rest is about
//! single models, files, limits and the command line.

mod cli;
mod files;
mod jepsen;
mod limits;
mod mutations;
mod naive;
mod oracle;
mod second_opinion;
mod session;
mod simulation;
mod support;
mod walk;
