//! `lockstep reconcile`: what a side did that went its own way, key by key, and what becomes of it.

mod apply;
mod decide;
mod losers;
mod plan;
mod show;
mod status;

use super::common_args::Target;
use crate::merging::Tail;
use crate::reconcile::Policy;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(subcommand)]
    pub command: ReconcileCommand,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum ReconcileCommand {
    /// Compare two sides and write a plan; it changes nothing
    ///
    /// Exits with 9 if conflicts are left to decide, and with 10 if there is nothing to reconcile or no way to.
    Plan(PlanArgs),
    /// Print what a plan would do, or all that it knows of one key
    Show {
        /// The plan
        plan: PathBuf,
        /// Only this key
        key: Option<String>,
    },
    /// Write a plan anew with decisions about its conflicts
    ///
    /// A decision is a line of JSON: {"key":"k","take":"live"}, or incoming, remove, quarantine, or value with value or
    /// value_base64 and perhaps content_type. The new plan has another id.
    Decide {
        /// The plan
        plan: PathBuf,
        /// A file of decisions
        decisions: PathBuf,
        /// Where the new plan goes
        #[arg(long)]
        out: PathBuf,
    },
    /// Carry out a plan on the cluster at --url
    ///
    /// Each key is changed only if it still is what the plan expects; what a client has written meanwhile stays. Whatever
    /// loses is in the file of losers before it is lost. If the command breaks off, run it again: each step is applied
    /// once.
    Apply {
        /// The plan
        plan: PathBuf,
        /// Where what loses goes [default: the plan's name with .losers.jsonl]
        #[arg(long)]
        losers: Option<PathBuf>,
    },
    /// Show the merges that the cluster remembers, and the forks that are open
    Status,
    /// Put the newest value of a key back from a file of losers
    ///
    /// Refused if the key is changed meanwhile: then it exits with 4.
    RestoreLoser {
        /// The file of losers
        losers: PathBuf,
        key: String,
    },
    /// Give up a merge that was begun; what has come in stays
    Abort {
        /// The plan's id
        id: String,
    },
    /// Stop noting what becomes of the entries that are common with a side that will not come back
    Forget {
        /// The id of its history
        history: String,
    },
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The side whose changes are brought in: the data folder of a node that does not run, a backup, or a URL
    #[arg(long)]
    pub from: String,
    /// The side that goes on: the same; by default the cluster at --url
    #[arg(long)]
    pub live: Option<String>,
    /// A backup with what both sides had when they parted, if neither side has it any more: the backup that was restored
    #[arg(long)]
    pub base: Option<PathBuf>,
    /// Who wins where both changed a key
    #[arg(long, value_enum, default_value = "newest")]
    pub policy: Policy,
    /// A JSON file with rules for prefixes of keys, instead of --policy
    #[arg(long, conflicts_with = "policy")]
    pub rules: Option<PathBuf>,
    /// What to do with entries of a folder's log that are not known to be committed
    #[arg(long, value_enum, default_value = "take")]
    pub tail: Tail,
    /// Where the plan goes
    #[arg(long, default_value = "reconcile-plan.jsonl")]
    pub out: PathBuf,
    /// Replace that file if it is there
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
pub async fn reconcile(args: Box<ReconcileArgs>) -> anyhow::Result<()> {
    let ReconcileArgs { command, target } = *args;
    match command {
        ReconcileCommand::Plan(args) => plan::plan(args, &target).await,
        ReconcileCommand::Show { plan, key } => show::show(&plan, key.as_deref(), target.json),
        ReconcileCommand::Decide { plan, decisions, out } => {
            decide::decide(&plan, &decisions, &out, target.json)
        }
        ReconcileCommand::Apply { plan, losers } => apply::apply(&plan, losers, &target).await,
        ReconcileCommand::Status => status::status(&target).await,
        ReconcileCommand::RestoreLoser { losers, key } => losers::restore(&losers, &key, &target).await,
        ReconcileCommand::Abort { id } => status::abort(&id, &target).await,
        ReconcileCommand::Forget { history } => status::forget(&history, &target).await,
    }
}
