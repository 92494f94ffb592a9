//! `lockstep reconcile restore-loser`: puts a value back that lost.

use super::super::common_args::Target;
use super::super::exit::NoSuchKey;
use super::super::kv::connect;
use crate::api::Consistency;
use crate::cache::Ttl;
use crate::cache::limits::TTL_MS_MIN;
use crate::client::PutOptions;
use crate::reconcile::{KeyState, Side, Written};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A line of the file, as far as it is needed here.
#[derive(Deserialize)]
struct Loser {
    key: String,
    side: Side,
    #[serde(flatten)]
    state: KeyState,
}

/// Puts the newest value of a key back, if the key is not changed meanwhile.
pub async fn restore(losers: &Path, key: &str, target: &Target) -> Result<()> {
    let (client, output) = connect(target)?;
    let (side, written) = newest(losers, key)?.ok_or_else(|| NoSuchKey(key.to_owned()))?;
    let current = client.get(key, Consistency::Linearizable).await?;
    let options = PutOptions {
        content_type: written.content_type.clone(),
        // As much time as it had when it was written.
        ttl: match (written.expires_at_ms, written.sliding_ms) {
            (None, _) => Ttl::Never,
            (Some(at_ms), 0) => Ttl::Ms(at_ms.saturating_sub(written.stamp_ms).max(TTL_MS_MIN)),
            (Some(_), sliding_ms) => Ttl::Sliding(sliding_ms.into()),
        },
        if_revision: current.as_ref().map(|found| found.meta.revision),
        if_absent: current.is_none(),
        ..PutOptions::default()
    };
    let stored = client.put(key, written.bytes()?.into(), &options).await?;
    let told = json!({"key": key, "side": side, "revision": stored.revision});
    output.print(&told, || {
        format!("{key:?} has its value of {} again, at revision {}", written.stamp_ms, stored.revision)
    })
}

fn newest(losers: &Path, key: &str) -> Result<Option<(Side, Written)>> {
    let unreadable = || losers.display().to_string();
    let mut found: Option<(Side, Written)> = None;
    for line in BufReader::new(File::open(losers).with_context(unreadable)?).lines() {
        let loser: Loser = serde_json::from_str(&line.with_context(unreadable)?).with_context(unreadable)?;
        if loser.key == key
            && let Some(written) = loser.state.written()
            && found.as_ref().is_none_or(|(_, before)| before.stamp_ms <= written.stamp_ms)
        {
            found = Some((loser.side, written.clone()));
        }
    }
    Ok(found)
}
