//! `lockstep reconcile`: what a side did that went its own way, key by key, and what becomes of it.

mod plan;
mod show;
mod sides;

use super::common_args::Target;
use crate::reconcile::Policy;
use clap::{Args, Subcommand, ValueEnum};
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
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The side whose changes are brought in: the data folder of a node that does not run, a backup, or a URL
    #[arg(long)]
    pub from: String,
    /// The side that goes on: the same; by default the cluster at --url
    #[arg(long)]
    pub live: Option<String>,
    /// Who wins where both changed a key
    #[arg(long, value_enum, default_value = "newest")]
    pub policy: PolicyName,
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

/// The policies by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// The later change
    Newest,
    /// The earlier change
    Oldest,
    /// The cluster
    PreferLive,
    /// The other side
    PreferIncoming,
    /// For counters: what both sides added
    SumDelta,
    /// The cluster, and the other change is set aside for a person
    Quarantine,
    /// Nobody yet: each conflict waits for a decision
    Custom,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Newest => Self::Newest,
            PolicyName::Oldest => Self::Oldest,
            PolicyName::PreferLive => Self::PreferLive,
            PolicyName::PreferIncoming => Self::PreferIncoming,
            PolicyName::SumDelta => Self::SumDelta,
            PolicyName::Quarantine => Self::Quarantine,
            PolicyName::Custom => Self::Custom,
        }
    }
}

/// What becomes of the end of a log. Whoever wrote it was told nothing, or that the outcome is unknown: both are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tail {
    /// They count
    Take,
    /// They do not
    Drop,
}

/// Runs the command.
pub async fn reconcile(args: Box<ReconcileArgs>) -> anyhow::Result<()> {
    let ReconcileArgs { command, target } = *args;
    match command {
        ReconcileCommand::Plan(args) => plan::plan(args, &target).await,
        ReconcileCommand::Show { plan, key } => show::show(&plan, key.as_deref(), target.json),
    }
}
