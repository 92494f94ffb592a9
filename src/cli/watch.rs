//! `lockstep watch`: changes, as they happen.

use super::common_args::Target;
use super::kv::connect;
use crate::api::{SessionEndCause, WatchMessage, WireEvent, WireValue};
use crate::client::WatchOptions;
use anyhow::Result;
use clap::Args;
use std::io::{ErrorKind, Write};

/// What to watch.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only keys that start with this
    #[arg(default_value = "")]
    pub prefix: String,
    /// Start after this log index [default: now]
    #[arg(long)]
    pub from: Option<u64>,
    /// Leave values out
    #[arg(long)]
    pub no_values: bool,
    /// Stop after this many changes
    #[arg(long)]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub target: Target,
}

/// Prints changes until it is interrupted, or has printed `--limit` of them. It continues with another node if one
/// fails.
pub async fn watch(args: WatchArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let options = WatchOptions { values: !args.no_values, ..WatchOptions::prefix(&args.prefix, args.from) };
    let mut watching = client.watch(options);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let message = watching.next().await?;
        left -= u64::from(matches!(message, WatchMessage::Change { .. }));
        let text = if output.json { serde_json::to_string(&message)? + "\n" } else { words(&message) };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough, as in `lockstep watch | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// One line per event. Messages that only advance the cursor are omitted.
fn words(message: &WatchMessage) -> String {
    match message {
        WatchMessage::Subscribed { .. } | WatchMessage::Bookmark { .. } | WatchMessage::Closed { .. } => {
            String::new()
        }
        WatchMessage::Change { index, events, .. } => {
            events.iter().map(|event| format!("{index} {}\n", sentence(event))).collect()
        }
        WatchMessage::Resync { from, index, .. } => {
            format!("{index} resync: changes after {from} are no longer kept; read the keys again\n")
        }
    }
}

fn sentence(event: &WireEvent) -> String {
    match event {
        WireEvent::Put { key, created, bytes, value, .. } => {
            let verb = if *created { "put" } else { "put over" };
            match value {
                Some(WireValue::Text { value }) => format!("{verb} {key}: {}", value.escape_debug()),
                _ => format!("{verb} {key}: {bytes} bytes"),
            }
        }
        WireEvent::Lifetime { key, expires_at_ms: Some(at_ms), .. } => {
            format!("lifetime {key}: until {at_ms}")
        }
        WireEvent::Session { id, name, .. } => format!("session {id}: {name}"),
        WireEvent::SessionEnd { id, name, why } => {
            let why = if *why == SessionEndCause::Expired { "expired" } else { "ended" };
            format!("session {id}: {name} {why}")
        }
        WireEvent::Lock { name, session, token } => format!("lock {name}: session {session}, token {token}"),
        WireEvent::Unlock { name, session, .. } => format!("unlock {name}: session {session}"),
        WireEvent::Lifetime { key, expires_at_ms: None, .. } => format!("lifetime {key}: for ever"),
        WireEvent::Delete { key } => format!("delete {key}"),
        WireEvent::Expire { key } => format!("expire {key}"),
        WireEvent::Evict { key } => format!("evict {key}"),
        WireEvent::Clear { prefix: Some(prefix), removed } => format!("clear {prefix}: {removed} keys"),
        WireEvent::Clear { prefix: None, removed } => format!("clear all: {removed} keys"),
        WireEvent::Config { config } => {
            format!(
                "config: {:?}, {} entries, {} bytes",
                config.policy, config.capacity_entries, config.capacity_bytes
            )
        }
    }
}
