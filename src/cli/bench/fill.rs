//! Puts all keys, so that reads find them.

use super::args::BenchArgs;
use super::connection::Connection;
use super::keys::{DIGITS, VALUES, value};
use super::redis_requests;
use super::requests::Request;
use super::target::Server;
use crate::api::OpRequest;
use crate::client::ClientError;
use anyhow::{Context, Result, bail};
use futures::{TryStreamExt, stream};
use indicatif::ProgressBar;

/// Batches under way at a time.
const AT_A_TIME: usize = 4;

/// Puts every key, with a value of the size that was asked for.
pub async fn fill(args: &BenchArgs, servers: &[Server], bar: &ProgressBar) -> Result<()> {
    if !args.redis.is_empty() {
        return fill_redis(args, &servers[0], bar).await;
    }
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

/// Through one connection: as many commands at a time as a batch would have.
async fn fill_redis(args: &BenchArgs, server: &Server, bar: &ProgressBar) -> Result<()> {
    let value = value(args.value_bytes, args.seed);
    let mut connection = Connection::open(server, args.target.timeout()).await?;
    bar.set_message("storing all keys");
    bar.set_length(args.keys);
    let step = args.fill_batch();
    for first in (0..args.keys).step_by(step) {
        let keys = first..args.keys.min(first + step as u64);
        let count = keys.end - keys.start;
        let answer = connection.ask(&Request::Redis(redis_requests::fill(keys, &value))).await?;
        if let Some(code) = answer.refused.first() {
            bail!("cannot store all keys: {code}");
        }
        bar.inc(count);
    }
    Ok(())
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
