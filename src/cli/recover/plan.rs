//! `lockstep recover plan`.

use super::super::exit::Usage;
use super::super::output::Output;
use super::collect::read;
use crate::client::node_infos;
use crate::recover::{self, NamedMember, PLAN_VERSION, Plan, Survivor};
use crate::replica::wall_ms;
use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a lost member's port is tried.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Refused because it would not be safe.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} was named as lost, and something answers at {at}: a node that runs may go on with the old history; stop it for \
     good, or do not give it up"
)]
pub struct LostAnswers {
    name: String,
    at: String,
}

/// Decides, writes the plan, and says what it means.
pub async fn plan(survivors: &[PathBuf], lost: &[String], out: &Path, force: bool, json: bool) -> Result<()> {
    if !force && out.try_exists()? {
        return Err(Usage(format!("{} is there already; --force replaces it", out.display())).into());
    }
    let survivors = survivors.iter().map(|path| read(path)).collect::<Result<Vec<Survivor>>>()?;
    let plan = recover::plan(&survivors, lost, uuid::Uuid::new_v4().to_string(), wall_ms())?;
    for member in &plan.lost {
        if let Some(at) = answers_at(member).await {
            return Err(LostAnswers { name: member.name.clone(), at }.into());
        }
    }
    let text = serde_json::to_string_pretty(&plan)?;
    fs::write(out, text + "\n").with_context(|| format!("cannot write {}", out.display()))?;
    Output { json }.print(&json!({"plan": out, "id": id_of(&plan), "content": plan}), || in_words(&plan, out))
}

/// Where a member answers that should not. That nobody answers proves nothing: only the operator knows that it is gone.
pub(super) async fn answers_at(member: &NamedMember) -> Option<String> {
    if !member.http.is_empty() {
        let infos = node_infos(std::slice::from_ref(&member.http)).await;
        let is_it = |info: &crate::api::NodeInfo| info.store_uuid == member.store_uuid;
        if infos.into_iter().flatten().any(|info| is_it(&info)) {
            return Some(member.http.clone());
        }
    }
    let dialled = timeout(DIAL_TIMEOUT, TcpStream::connect(&member.peer)).await;
    dialled.is_ok_and(|dialled| dialled.is_ok()).then(|| member.peer.clone())
}

/// Reads a plan.
pub fn read_plan(path: &Path) -> Result<Plan> {
    let unreadable = || format!("{} is not what `recover plan` writes", path.display());
    let plan: Plan =
        serde_json::from_slice(&fs::read(path).with_context(unreadable)?).with_context(unreadable)?;
    if plan.recovery != PLAN_VERSION {
        bail!("{} has version {}, this program reads {PLAN_VERSION}", path.display(), plan.recovery);
    }
    Ok(plan)
}

/// A plan's id is that of the history that it begins.
pub fn id_of(plan: &Plan) -> &str {
    &plan.lineage.current().id
}

fn in_words(plan: &Plan, out: &Path) -> String {
    let Plan { seed, last, others, lost, loss, lineage, .. } = plan;
    let names = |members: &mut dyn Iterator<Item = &NamedMember>| {
        members.map(|member| member.name.as_str()).collect::<Vec<&str>>().join(", ")
    };
    let mut text = format!(
        "{} goes on with its log, which ends at index {} of term {}, as history {}",
        seed.name,
        last.index,
        last.term,
        lineage.current().number
    );
    // Writing to a string does not fail.
    let _ = match others.is_empty() {
        true => write!(text, "\nnobody else is left: add nodes with --join"),
        false => write!(text, "\njoin it anew: {}", names(&mut others.iter().map(|other| &other.node))),
    };
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
        &id_of(plan)[..8]
    );
    text
}
