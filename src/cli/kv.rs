//! The commands that ask a running cluster something.

use super::commands::{Command, ConfigArgs, DigestArgs, MemberArgs, MemberCommand, StatusArgs};
use super::common_args::{Target, TtlMs};
use super::exit::{NoSuchKey, Usage};
use super::kv_args::{BatchArgs, DelArgs, ExpireArgs, GetArgs, IncrArgs, KeysArgs, PersistArgs, PutArgs};
use super::output::Output;
use crate::api::{
    BatchMode, BatchRequest, CacheReport, ConfigUpdate, Entry, ErrorCode, ExpireRequest, IncrRequest,
    MemberStatus, Status, TouchUpdate, ValueDetails, WireValue,
};
use crate::cache::Ttl;
use crate::client::{Client, ClientError, Previous, PutOptions};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};

const PAGE: usize = 10_000;

/// Runs one of the commands.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Get(args) => get(args).await,
        Command::Put(args) => put(args).await,
        Command::Del(args) => del(args).await,
        Command::Incr(args) => incr(args).await,
        Command::Expire(args) => expire(args).await,
        Command::Persist(args) => persist(args).await,
        Command::Keys(args) => keys(args).await,
        Command::Batch(args) => batch(args).await,
        Command::Status(args) => status(args).await,
        Command::Member(args) => member(args).await,
        Command::Config(args) => config(args).await,
        Command::Digest(args) => digest(args).await,
        Command::Up(_)
        | Command::Serve(_)
        | Command::Replay(_)
        | Command::Simulate(_)
        | Command::CheckHistory(_)
        | Command::Bench(_)
        | Command::BaselineServer(_)
        | Command::Watch(_)
        | Command::Upgrade(_)
        | Command::History(_)
        | Command::Reconcile(_)
        | Command::Recover(_)
        | Command::Fence(_)
        | Command::Detach(_)
        | Command::Attach(_)
        | Command::Generate(_)
        | Command::Audit(_)
        | Command::Doctor(_)
        | Command::Cert(_)
        | Command::Token(_)
        | Command::Snapshot(_) => {
            bail!("this command is run elsewhere")
        }
    }
}

/// A client of the target's nodes.
pub(super) fn connect(target: &Target) -> Result<(Client, Output)> {
    let client = target.client_of(&target.url, target.timeout())?;
    Ok((client.allowing_detached(target.allow_detached), Output { json: target.json }))
}

async fn get(args: GetArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let Some(answer) = client.get(&args.key, args.consistency).await? else {
        if output.json {
            println!("{}", json!({"key": args.key, "found": false}));
        }
        return Err(NoSuchKey(args.key).into());
    };
    if !output.json {
        return print_value(&answer.value);
    }
    let (content_type, value) = (answer.content_type, answer.value.into());
    let entry = Entry { key: args.key, entry: ValueDetails { meta: answer.meta, value, content_type } };
    let mut object = serde_json::to_value(entry)?;
    object["found"] = true.into();
    output.print(&object, String::new)
}

/// The value as it is: a newline more would make it another value. Only on a terminal, whose prompt follows, there is
/// one.
fn print_value(value: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(value)?;
    if out.is_terminal() && !value.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// What a write replaced or removed.
fn previous_in_json(previous: Previous) -> serde_json::Value {
    let Previous { value, content_type, revision } = previous;
    in_json(value.into(), json!({"content_type": content_type, "revision": revision}))
}

/// The object with the value in it.
fn in_json(value: WireValue, mut object: serde_json::Value) -> serde_json::Value {
    match value {
        WireValue::Text { value } => object["value"] = value.into(),
        WireValue::Base64 { value_base64 } => object["value_base64"] = value_base64.into(),
    }
    object
}

async fn put(args: PutArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let value = if args.value == "-" { read_stdin()? } else { args.value.into_bytes() };
    let ttl = match (args.ttl_ms, args.sliding) {
        (None, _) => Ttl::Default,
        (Some(TtlMs(Some(ttl_ms))), true) => Ttl::Sliding(ttl_ms),
        (Some(TtlMs(Some(ttl_ms))), false) => Ttl::Ms(ttl_ms),
        (Some(TtlMs(None)), false) => Ttl::Never,
        (Some(TtlMs(None)), true) => {
            return Err(Usage("what never expires cannot be --sliding".into()).into());
        }
    };
    let options = PutOptions {
        content_type: args.content_type,
        ttl,
        if_revision: args.if_revision,
        if_absent: args.if_absent,
        if_present: args.if_present,
        if_absent_since: None,
        previous: args.previous,
    };
    let stored = client.put(&args.key, value.into(), &options).await?;
    let (revision, created) = (stored.revision, stored.created);
    if args.previous && !output.json {
        return stored.previous.map_or(Ok(()), |previous| print_value(&previous.value));
    }
    let mut object = json!({"key": args.key, "revision": revision, "created": created});
    if args.previous {
        object["previous"] = serde_json::to_value(stored.previous.map(previous_in_json))?;
    }
    output
        .print(&object, || format!("{} at revision {revision}", if created { "created" } else { "replaced" }))
}

async fn del(args: DelArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let cleared = match &args.key {
        None => Some(client.clear_all().await?),
        Some(prefix) if args.prefix && prefix.is_empty() => {
            return Err(Usage("--prefix: an empty one is that of all keys; say --all".into()).into());
        }
        Some(prefix) if args.prefix => Some(client.clear(prefix).await?),
        Some(_) => None,
    };
    if let Some(cleared) = cleared {
        return output.print(&cleared, || format!("removed {} keys", cleared.removed));
    }
    let key = args.key.unwrap_or_default();
    let (removed, previous) = if args.previous {
        let previous = client.take(&key, args.if_revision).await?;
        (previous.is_some(), previous)
    } else {
        (client.delete(&key, args.if_revision).await?, None)
    };
    if output.json {
        let mut object = json!({"key": key, "removed": removed});
        if args.previous {
            object["previous"] = serde_json::to_value(previous.map(previous_in_json))?;
        }
        println!("{object}");
    } else if let Some(previous) = previous {
        print_value(&previous.value)?;
    }
    if removed { Ok(()) } else { Err(NoSuchKey(key).into()) }
}

async fn incr(args: IncrArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let (by, initial) = (args.by_option.or(Some(args.by)), Some(args.initial));
    let request = IncrRequest { by, initial, ttl_ms: args.ttl_ms, sliding: args.sliding };
    let counter = client.incr(&args.key, &request).await?;
    output.print(&counter, || counter.value.to_string())
}

async fn expire(args: ExpireArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let request = ExpireRequest { ttl_ms: args.ttl_ms, sliding: args.sliding };
    let Some(deadline) = client.expire(&args.key, &request).await? else {
        return Err(NoSuchKey(args.key).into());
    };
    output.print(&deadline, || format!("{} milliseconds from now", args.ttl_ms))
}

async fn persist(args: PersistArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let Some(deadline) = client.persist(&args.key).await? else {
        return Err(NoSuchKey(args.key).into());
    };
    output.print(&deadline, || "stays for ever".into())
}

async fn keys(args: KeysArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let prefix = args.prefix_option.unwrap_or(args.prefix);
    let (mut found, mut after) = (Vec::new(), args.after);
    let next = loop {
        let left = args.limit.get().saturating_sub(found.len());
        if left == 0 {
            break after;
        }
        let page = client.keys(&prefix, after.as_deref(), left.min(PAGE), args.consistency).await?;
        found.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break None;
        }
    };
    if found.is_empty() && !output.json {
        return Ok(());
    }
    let listed = || found.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>().join("\n");
    output.print(&json!({"keys": found, "next": next}), listed)?;
    if let Some(last) = next.filter(|_| !output.json) {
        eprintln!("there are more: raise --limit, or go on with --after {last}");
    }
    Ok(())
}

async fn batch(args: BatchArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let text = match args.file.as_str() {
        "-" => read_stdin()?,
        file => std::fs::read(file).with_context(|| format!("cannot read {file}"))?,
    };
    let BatchRequest { mode, ops } =
        serde_json::from_slice(&text).map_err(|error| Usage(format!("{}: {error}", args.file)))?;
    let answer = match mode {
        BatchMode::All => serde_json::to_value(client.batch(&ops).await?)?,
        BatchMode::Each => serde_json::to_value(client.batch_each(&ops).await?)?,
    };
    let words = || serde_json::to_string_pretty(&answer).unwrap_or_default();
    output.print(&answer, words)
}

async fn status(args: StatusArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let status = client.status().await?;
    output.print(&status, || describe(&status))
}

fn describe(status: &Status) -> String {
    let leader = status
        .leader
        .as_ref()
        .map_or_else(|| "no leader".into(), |l| format!("leader {} ({})", l.name, l.http));
    let memory = status.memory_resident_bytes;
    let memory =
        memory.map_or_else(String::new, |bytes| format!("; the process has {bytes} bytes of memory"));
    let mut out = format!(
        "{} is {}, {leader}, term {}\ncluster {} (history {}), version {}\n\
         log: last {}, committed {}, applied {}, snapshot {}\ndigest {} at index {}\n\
         cache: {} of {} entries, {} of {} bytes, policy {}{memory}\n",
        status.node.name,
        status.role,
        status.term,
        status.cluster_id,
        status.history.number,
        status.version,
        status.last_log_index,
        status.committed_index,
        status.applied_index,
        status.snapshot_index,
        status.digest.digest,
        status.digest.index,
        status.entries,
        status.config.capacity_entries,
        status.bytes,
        status.config.capacity_bytes,
        status.config.policy.name(),
    );
    out.push_str(&describe_cache(&status.cache));
    if let Some(index) = status.differs_at {
        let _ = writeln!(out, "OUT OF SERVICE: its state differs from the others' since index {index}");
    }
    if status.removed {
        out.push_str("OUT OF SERVICE: it was removed from the cluster\n");
    } else if !status.majority {
        out.push_str("NO MAJORITY of the voters answers it: nothing can be written, nor read but stale, with a token for the time of --stale-auth-limit only\n");
    }
    for warning in &status.warnings {
        let _ = writeln!(out, "WARNING: {}", warning.detail);
    }
    out.push_str(&table(&status.members));
    out
}

/// What answers "is it large enough, and is it the right policy?".
fn describe_cache(cache: &CacheReport) -> String {
    // Not rounded up: a hundred means all.
    let percent = |hits: Option<f64>| {
        hits.map_or_else(|| "-".into(), |hits| format!("{:.2} %", (hits * 100.0 + 1e-9).floor() / 100.0))
    };
    let keys = |keys: Vec<&str>| if keys.is_empty() { "-".into() } else { keys.join(" ") };
    let reads = cache.reads;
    let mut out = format!(
        "reads answered here: {} hits, {} misses ({})\nevicted {}, expired {} since the cluster began\n",
        reads.hits,
        reads.misses,
        percent(reads.hit_percent),
        cache.counts.evicted(),
        cache.counts.expired,
    );
    if cache.entries_to_free > 0 {
        let _ = writeln!(out, "a clear has {} entries still to free", cache.entries_to_free);
    }
    if cache.entries_to_move > 0 {
        let _ = writeln!(out, "the switch of the policy has {} entries still to move", cache.entries_to_move);
    }
    if let Some(shadow) = cache.shadow.as_ref().filter(|shadow| shadow.reads > 0) {
        let policies: Vec<String> =
            shadow.hit_percent.iter().map(|(policy, hits)| format!("{policy} {hits:.2} %")).collect();
        let _ = writeln!(
            out,
            "hits each policy would have: {} (estimated from {} reads, one key in {})",
            policies.join(", "),
            shadow.reads,
            shadow.one_key_in
        );
    }
    let _ = writeln!(
        out,
        "read most here: {}",
        keys(cache.hot_keys.iter().map(|k| k.key.as_str()).take(5).collect())
    );
    let _ = writeln!(
        out,
        "next to go: {}",
        keys(cache.next_victims.iter().map(|v| v.key.as_str()).take(5).collect())
    );
    out
}

fn table(members: &[MemberStatus]) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "-".into(), |n| n.to_string());
    let mut out =
        format!("{:>6}  {:<12} {:<9} {:>8} {:>10}  {}", "id", "name", "role", "lag", "silent ms", "http");
    for m in members {
        let (lag, silent) = (number(m.lag), number(m.silent_ms));
        let _ = write!(out, "\n{:>6}  {:<12} {:<9} {lag:>8} {silent:>10}  {}", m.id, m.name, m.role, m.http);
    }
    out
}

async fn member(args: MemberArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    match args.command.unwrap_or(MemberCommand::List) {
        MemberCommand::List => {
            let members = client.members().await?;
            output.print(&members, || table(&members.members))
        }
        MemberCommand::Promote { id } => {
            client.promote(id).await?;
            output.print(&json!({"promoted": id}), || format!("{id} has a vote"))
        }
        MemberCommand::Remove { id } => {
            client.remove(id).await?;
            output.print(&json!({"removed": id}), || format!("{id} is removed"))
        }
        MemberCommand::Replace { name } => {
            let members = client.members().await?.members;
            let by_name = members.iter().find(|member| member.name == name).map(|member| member.id);
            let id = by_name.or_else(|| name.parse().ok());
            let id =
                id.ok_or_else(|| Usage(format!("no member is called {name}: `lockstep member` lists them")))?;
            client.replace(id).await.map_err(without_majority)?;
            output.print(&json!({"replaced": id}), || {
                format!(
                    "{name} is removed: a node of this name that was started with --replace-lost and an empty folder takes its \
                     place, if one waits or when it is started"
                )
            })
        }
        MemberCommand::Transfer { to } => {
            client.transfer_leader(to).await?;
            let leader = client.status().await?.leader;
            output.print(&json!({"leader": leader}), || match &leader {
                Some(leader) => format!("{} leads", leader.name),
                None => "a new leader is being elected".into(),
            })
        }
    }
}

/// An error of a change that needs a majority, with what to do if there is none.
fn without_majority(error: ClientError) -> anyhow::Error {
    match error.code() {
        ErrorCode::Unavailable => {
            anyhow::Error::from(error).context("if a majority is lost for good, use `lockstep recover`")
        }
        _ => error.into(),
    }
}

async fn config(args: ConfigArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let update = ConfigUpdate {
        policy: args.policy,
        capacity_entries: args.capacity_entries,
        capacity_bytes: args.capacity_bytes,
        default_ttl_ms: args.default_ttl_ms.map(|ttl| ttl.0),
        touch: TouchUpdate {
            enabled: args.touch,
            interval_ms: args.touch_interval_ms,
            max_per_flush: args.touch_max_per_flush,
        },
    };
    let config = if update == ConfigUpdate::default() {
        client.config().await?
    } else {
        client.set_config(&update).await?
    };
    output.print(&config, || serde_json::to_string_pretty(&config).unwrap_or_default())
}

async fn digest(args: DigestArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let mut digests = client.digests().await?;
    let older = digests.digests.len().saturating_sub(args.limit);
    digests.digests.drain(..older);
    let line = |d: &crate::api::IndexedDigest| format!("{:>10}  {}", d.index, d.digest);
    output.print(&digests, || digests.digests.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}
