//! Arguments -> settings -> run: the commands people type.

mod bench;
mod cert;
mod check_history;
mod commands;
mod common_args;
mod detach;
mod exit;
mod fence;
mod history;
mod kv;
mod kv_args;
mod output;
mod reconcile;
mod recover;
mod replay;
mod serve;
mod serve_tls;
mod simulate;
mod snapshot;
mod token;
mod trace;
mod up;
mod up_secrets;
mod upgrade;
mod watch;

pub use commands::Cli;

use commands::Command;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Runs a command and says how it ended; see [`exit`] for the codes.
pub fn run(cli: Cli) -> ExitCode {
    let given = std::env::var("LOCKSTEP_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match given.as_deref().unwrap_or(default_filter(&cli.command)).parse::<Targets>() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("lockstep: LOCKSTEP_LOG: {error}");
            return exit::USAGE.into();
        }
    };
    // The program must not end because nobody reads its standard error any more.
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // Data files and backups contain keys and values, so other users of this machine must not be able to read them.
    // SAFETY: it changes which permissions new files get, nothing else.
    unsafe { libc::umask(0o077) };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lockstep: cannot start: {error}");
            return exit::ERROR.into();
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Up(args) => up::up(args).await,
            Command::Serve(args) => serve::serve(args).await,
            Command::Replay(args) => replay::replay(args).await,
            Command::Simulate(args) => simulate::simulate(args).await,
            Command::CheckHistory(args) => check_history::check_history(args).await,
            Command::Bench(args) => bench::bench(args).await,
            Command::BaselineServer(args) => bench::baseline_server(args).await,
            Command::Watch(args) => watch::watch(args).await,
            Command::Upgrade(args) => upgrade::upgrade(args).await,
            Command::History(args) => history::history(args).await,
            Command::Recover(args) => recover::recover(args).await,
            Command::Fence(args) => fence::fence(args).await,
            Command::Detach(args) => detach::detach(args).await,
            Command::Attach(args) => detach::attach(args).await,
            Command::Cert(args) => cert::cert(args).await,
            Command::Token(args) => token::token(args).await,
            Command::Reconcile(args) => reconcile::reconcile(args).await,
            Command::Snapshot(args) => snapshot::snapshot(args).await,
            other => kv::run(other).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockstep: {error:#}{}", exit::hint(&error));
            exit::code(&error).into()
        }
    }
}

/// Nodes log from level `info`, short commands only warnings and errors.
fn default_filter(command: &Command) -> &'static str {
    match command {
        Command::Serve(_) => "info,openraft=error",
        _ => "warn,openraft=error",
    }
}
