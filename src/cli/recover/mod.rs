//! `lockstep recover`: going on after the loss of a majority.

mod apply;
mod collect;
mod plan;
mod verify;

pub use plan::LostAnswers;

use super::common_args::Target;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct RecoverArgs {
    #[command(subcommand)]
    pub command: RecoverCommand,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum RecoverCommand {
    /// Print what the data folder of a survivor says of itself, for `plan` on another machine
    Collect {
        /// The data folder; its node must not run
        folder: PathBuf,
        /// Write it to a file instead
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Choose whose log goes on, say what may be lost, and write a plan; it changes nothing
    ///
    /// Exits with 10 where it would not be safe: a majority is left, a member that was given up answers, or somebody is
    /// not accounted for.
    Plan {
        /// Each survivor's data folder, or a file that `collect` wrote
        #[arg(required = true)]
        survivors: Vec<PathBuf>,
        /// The members that are given up, by name or number, separated by commas
        #[arg(long, required = true, value_delimiter = ',')]
        lost: Vec<String>,
        /// Where the plan goes
        #[arg(long, default_value = "recovery-plan.json")]
        out: PathBuf,
        /// Replace that file if it is there
        #[arg(long)]
        force: bool,
        /// Do not mind that something accepts connections at the peer address of a lost member
        #[arg(long)]
        ignore_ports: bool,
    },
    /// Carry out a plan on the data folder of one survivor; run it once for each
    ///
    /// The folder's content goes to `aside/` below it. If the command breaks off, run it again.
    Apply {
        /// The plan
        plan: PathBuf,
        /// The data folder; its node must not run
        folder: PathBuf,
        /// The first characters of the plan's id, at least 8, as a sign that the plan was read
        #[arg(long)]
        confirm: String,
        /// The URL at which the others reach the seed, if it is not the one it had
        #[arg(long)]
        join: Option<String>,
        /// Take clients' writes even before the other survivors have votes; a write may then be on one disk only
        #[arg(long)]
        serve_now: bool,
    },
    /// Ask the survivors and the lost whether the plan was carried out everywhere, until it is or --timeout-ms is over
    Verify {
        /// The plan
        plan: PathBuf,
    },
}

/// Runs the command.
pub async fn recover(args: RecoverArgs) -> anyhow::Result<()> {
    let RecoverArgs { command, target } = args;
    match command {
        RecoverCommand::Collect { folder, out } => collect::collect(&folder, out.as_deref()),
        RecoverCommand::Plan { survivors, lost, out, force, ignore_ports } => {
            let (json, tls) = (target.json, &target.tls.files());
            let options = plan::Options { lost: &lost, out: &out, force, ignore_ports, json, tls };
            plan::plan(&survivors, options).await
        }
        RecoverCommand::Apply { plan, folder, confirm, join, serve_now } => {
            let options = apply::Options { confirm, join, serve_now };
            apply::apply(&plan, &folder, options, target.json).await
        }
        RecoverCommand::Verify { plan } => verify::verify(&plan, &target).await,
    }
}
