//! `lockstep recover plan`.

use super::super::exit::Usage;
use super::super::output::Output;
use super::collect::read;
use crate::client::node_infos;
use crate::recover::{self, NamedMember, PLAN_VERSION, Plan, Survivor};
use crate::replica::wall_ms;
use crate::tls::ClientTls;
use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

/// How long a lost member's port is tried.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Refused because it would not be safe.
#[derive(Debug, thiserror::Error)]
pub enum LostAnswers {
    #[error(
        "{name} was named as lost, and answers at {at}: it would go on with the old history; stop it for good, or do not give \
         it up"
    )]
    Itself { name: String, at: String },
    #[error(
        "{name} was named as lost, and something accepts connections at its peer address {at}; if that is surely another \
         program, say --ignore-ports"
    )]
    Port { name: String, at: String },
}

/// How a plan is made.
pub struct Options<'a> {
    pub lost: &'a [String],
    pub out: &'a Path,
    pub force: bool,
    pub ignore_ports: bool,
    pub json: bool,
    /// How members are asked that speak HTTPS.
    pub tls: &'a ClientTls,
}

/// A plan as it is written: its id is a hash of all the rest, so what is carried out is what was read.
#[derive(Serialize, Deserialize)]
struct PlanFile {
    id: String,
    plan: Plan,
}

/// Decides, writes the plan, and says what it means.
pub async fn plan(survivors: &[PathBuf], options: Options<'_>) -> Result<()> {
    let Options { lost, out, force, ignore_ports, json, tls } = options;
    if !force && out.try_exists()? {
        return Err(Usage(format!("{} is there already; --force replaces it", out.display())).into());
    }
    let survivors = survivors.iter().map(|path| read(path)).collect::<Result<Vec<Survivor>>>()?;
    let plan = recover::plan(&survivors, lost, uuid::Uuid::new_v4().to_string(), wall_ms())?;
    for member in &plan.lost {
        let name = member.name.clone();
        if is_there(member, tls).await {
            return Err(LostAnswers::Itself { name, at: member.http.clone() }.into());
        }
        if !ignore_ports && is_listening(member).await {
            return Err(LostAnswers::Port { name, at: member.peer.clone() }.into());
        }
    }
    let file = PlanFile { id: hash(&plan)?, plan };
    let text = serde_json::to_string_pretty(&file)?;
    fs::write(out, text + "\n").with_context(|| format!("cannot write {}", out.display()))?;
    Output { json }.print(&json!({"file": out, "id": file.id, "plan": file.plan}), || {
        in_words(&file.plan, &file.id, out)
    })
}

/// Whether a member answers that should not. That nobody answers proves nothing: only the operator knows that it is gone.
pub(super) async fn is_there(member: &NamedMember, tls: &ClientTls) -> bool {
    if member.http.is_empty() {
        return false;
    }
    let infos = node_infos(std::slice::from_ref(&member.http), tls).await;
    infos.into_iter().flatten().any(|info| info.store_uuid == member.store_uuid)
}

/// Whether anything accepts connections where its peers reached a member: a node that starts or hangs does so as well.
async fn is_listening(member: &NamedMember) -> bool {
    let dialled = timeout(DIAL_TIMEOUT, TcpStream::connect(&member.peer)).await;
    dialled.is_ok_and(|dialled| dialled.is_ok())
}

/// Reads a plan, with its id.
pub fn read_plan(path: &Path) -> Result<(Plan, String)> {
    let unreadable = || format!("{} is not what `recover plan` writes", path.display());
    let file: PlanFile =
        serde_json::from_slice(&fs::read(path).with_context(unreadable)?).with_context(unreadable)?;
    let PlanFile { id, plan } = file;
    if plan.recovery != PLAN_VERSION {
        bail!("{} has version {}, this program reads {PLAN_VERSION}", path.display(), plan.recovery);
    }
    if hash(&plan)? != id {
        bail!("{} was changed after it was written: make a new plan", path.display());
    }
    Ok((plan, id))
}

/// As hexadecimal digits.
fn hash(plan: &Plan) -> Result<String> {
    Ok(format!("{:032x}", xxh3_128(&serde_json::to_vec(plan)?)))
}

fn in_words(plan: &Plan, id: &str, out: &Path) -> String {
    let Plan { seed, others, lost, loss, lineage, .. } = plan;
    let last = seed.state.last;
    let names = |members: &mut dyn Iterator<Item = &NamedMember>| {
        members.map(|member| member.name.as_str()).collect::<Vec<&str>>().join(", ")
    };
    let mut text = format!(
        "{} goes on with its log, which ends at index {} of term {}, as history {}",
        seed.node.name,
        last.index,
        last.term,
        lineage.current().number
    );
    // Writing to a string does not fail.
    let _ = match others.is_empty() {
        true => write!(text, "\nnobody else is left: add nodes with --join"),
        false => write!(text, "\njoin it anew: {}", names(&mut others.iter().map(|other| &other.node))),
    };
    let voters = plan.voters();
    let _ = write!(
        text,
        "\nafterwards {voters} of the nodes have votes: add others with --join, or the next loss stops it again"
    );
    let _ = write!(text, "\ngiven up: {}", names(&mut lost.iter()));
    let _ = write!(text, "\nkept: everything up to index {}, known to be committed", loss.committed_index);
    if loss.last_index > loss.committed_index {
        let entries = loss.last_index - loss.committed_index;
        let _ = write!(
            text,
            "\nkept: {entries} later entries, which may never have been acknowledged (up to index {})",
            loss.last_index
        );
        for change in loss.tail.iter().take(10) {
            let _ = write!(text, "\n  {}: {}", change.index, change.keys.join(", "));
        }
        if loss.tail.len() > 10 {
            let _ = write!(text, "\n  and more; see the plan");
        }
    }
    let at = loss.last_entry_at_ms.and_then(|ms| DateTime::from_timestamp_millis(i64::try_from(ms).ok()?));
    let at = at.map_or(String::new(), |at| {
        format!(", written at {}", at.to_rfc3339_opts(SecondsFormat::Millis, true))
    });
    let _ = match loss.nothing_acknowledged {
        true => write!(
            text,
            "\nnothing acknowledged is lost: the survivors meet every majority there can have been"
        ),
        false => write!(
            text,
            "\nMAY BE LOST: writes that were acknowledged after index {}{at}; if a lost node's folder turns up, bring them \
             in with `lockstep reconcile plan --from FOLDER`",
            loss.last_index
        ),
    };
    let _ = write!(
        text,
        "\n{}: for each survivor run\n  lockstep recover apply {} FOLDER --confirm {}",
        out.display(),
        out.display(),
        &id[..8]
    );
    text
}
