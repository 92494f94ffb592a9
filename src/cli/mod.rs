//! Arguments -> settings -> run: the commands people type.

mod audit;
mod bench;
mod cert;
mod check_history;
mod commands;
mod common_args;
mod detach;
mod doctor;
mod exit;
mod fence;
mod generate;
mod history;
mod kv;
mod kv_args;
mod open_files;
mod output;
mod reconcile;
mod recover;
mod replay;
mod serve;
mod serve_backups;
mod serve_join;
mod serve_jwt;
mod serve_limits;
mod serve_redis;
mod serve_replace;
mod serve_tls;
mod service_manager;
mod settings;
mod simulate;
mod snapshot;
mod token;
mod trace;
mod up;
mod up_log;
mod up_redis;
mod up_secrets;
mod upgrade;
mod watch;

pub use commands::Cli;

use clap::{CommandFactory, FromArgMatches};
use commands::{Command, LogFormat};
use settings::{FromFile, FromFiles, from_files, origins};
use std::ffi::OsString;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What other cache servers read from the environment, too.
const CACHE_SERVER_VARIABLES: [&str; 5] =
    ["PORT", "PEER_NODES", "CACHE_CAPACITY", "FRONTEND_URL", "NODE_ENV"];

/// Runs the command that this process was started with, and says how it ended; see [`exit`] for the codes. Nothing else may run in
/// this process yet.
pub fn run() -> ExitCode {
    drop_empty_settings();
    let cli = match read_arguments() {
        Ok(cli) => cli,
        Err(error) => {
            eprintln!("lockstep: {error}");
            return exit::USAGE.into();
        }
    };
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
    match &cli.command {
        Command::Serve(args) if args.log_format == LogFormat::Json => {
            // One object a line, with what it is about beside the message.
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            tracing_subscriber::registry().with(lines.with_filter(filter)).init();
        }
        _ => tracing_subscriber::registry().with(lines.with_filter(filter)).init(),
    }
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
            Command::Generate(args) => generate::generate(args).await,
            Command::Doctor(args) => doctor::doctor(args).await,
            Command::Audit(args) => audit::audit(args).await,
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

/// The arguments, with settings from files where neither a flag nor a variable says something else.
fn read_arguments() -> Result<Cli, exit::Usage> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").cloned().unwrap_or_default();
    let files = match arguments.first().is_some_and(|first| first == "serve") {
        true => from_files(&arguments, |name| std::env::var_os(name), &serve, &CACHE_SERVER_VARIABLES)?,
        false => FromFiles::default(),
    };
    for (name, FromFile { value, .. }) in &files {
        // SAFETY: nothing else runs yet that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
    // The variables are read where arguments are defined.
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let (Command::Serve(args), Some(given)) = (&mut cli.command, matches.subcommand_matches("serve")) {
        args.origins = origins(&serve, given, &files);
    }
    Ok(cli)
}

/// An empty variable is one that is not set: `.env` files and compose files are full of them.
fn drop_empty_settings() {
    let is_setting = |name: &str| name.starts_with("LOCKSTEP_") || CACHE_SERVER_VARIABLES.contains(&name);
    for (name, value) in std::env::vars_os() {
        if value.is_empty() && name.to_str().is_some_and(is_setting) {
            // SAFETY: nothing else runs yet that could read the environment.
            unsafe { std::env::remove_var(name) };
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
