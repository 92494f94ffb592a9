//! Puts all keys, so that reads find them.

use super::args::BenchArgs;
use super::keys::{DIGITS, VALUES, value};
use super::target::Server;
use crate::api::OpRequest;
use crate::client::ClientError;
use anyhow::{Context, Result};
use futures::{TryStreamExt, stream};
use indicatif::ProgressBar;

/// Batches under way at a time.
const AT_A_TIME: usize = 4;

/// Puts every key, with a value of the size that was asked for.
pub async fn fill(args: &BenchArgs, servers: &[Server], bar: &ProgressBar) -> Result<()> {
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let client = args.target.client_of(&urls, args.target.timeout())?;
    let value = value(args.value_bytes, args.seed);
    let puts = args.fill_batch();
    bar.set_message("storing all keys");
    bar.set_length(args.keys);
    let batches = (0..args.keys).step_by(puts).map(|first| {
        let keys = first..args.keys.min(first + puts as u64);
        let ops: Vec<OpRequest> = keys.map(|key| put(key, &value)).collect();
        Ok::<_, ClientError>(ops)
    });
    let send = async |ops: Vec<OpRequest>| {
        client.batch(&ops).await?;
        bar.inc(ops.len() as u64);
        Ok(())
    };
    stream::iter(batches).try_for_each_concurrent(AT_A_TIME, send).await.context("cannot store all keys")
}

fn put(number: u64, value: &str) -> OpRequest {
    OpRequest::Put {
        key: format!("{VALUES}{number:0DIGITS$}"),
        value: Some(value.to_owned()),
        value_base64: None,
        content_type: None,
        ttl_ms: None,
        sliding: false,
        previous: false,
        if_revision: None,
        if_absent: false,
        if_present: false,
        if_absent_since: None,
    }
}
