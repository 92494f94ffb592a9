//! `lockstep recover verify`.

use super::super::common_args::Target;
use super::super::output::Output;
use super::plan::{is_there, read_plan};
use crate::api::{Status, WarningCode};
use crate::recover::{NamedMember, Plan};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a lost member that is back may take to answer.
const LOST_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before everybody is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Something that the plan does not agree with.
#[derive(Debug, thiserror::Error)]
#[error("the recovery is not complete yet")]
pub struct NotVerified;

/// What was found at one member's URL.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    ok: bool,
    detail: String,
}

/// Asks everybody, until all is well or the time is up.
pub async fn verify(plan: &Path, target: &Target) -> Result<()> {
    let (plan, _) = read_plan(plan)?;
    let deadline = Instant::now() + target.timeout();
    let found = loop {
        let found = ask(&plan, target).await?;
        if found.iter().all(|found| found.ok) || Instant::now() + PAUSE >= deadline {
            break found;
        }
        sleep(PAUSE).await;
    };
    let ok = found.iter().all(|found| found.ok);
    Output { json: target.json }.print(&found, || {
        let lines = found.iter().map(|Found { name, ok, detail }| {
            format!("{} {name}: {detail}", if *ok { "ok " } else { "NOT" })
        });
        lines.collect::<Vec<String>>().join("\n")
    })?;
    if ok { Ok(()) } else { Err(NotVerified.into()) }
}

async fn ask(plan: &Plan, target: &Target) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for it in std::iter::once(&plan.seed).chain(&plan.others) {
        found.push(survivor(plan, &it.node, it.voter, target).await?);
    }
    for member in &plan.lost {
        found.push(lost(member, target).await);
    }
    Ok(found)
}

async fn survivor(plan: &Plan, member: &NamedMember, voter: bool, target: &Target) -> Result<Found> {
    let client = target.client_of(std::slice::from_ref(&member.http), target.timeout())?;
    let (ok, detail) = match client.status().await {
        Err(error) => (false, error.to_string()),
        Ok(status) => judge(plan, &status, voter),
    };
    Ok(Found { name: member.name.clone(), ok, detail })
}

fn judge(plan: &Plan, status: &Status, voter: bool) -> (bool, String) {
    let me = status.members.iter().find(|member| member.id == status.node.id);
    let waits = status.warnings.iter().find(|warning| warning.code == WarningCode::WaitsForVoters);
    if status.history.id != plan.lineage.current().id {
        (false, format!("its log belongs to history {} ({})", status.history.number, status.history.id))
    } else if status.differs_at.is_some() {
        (false, "its state differs from the others'".into())
    } else if voter && !me.is_some_and(|me| me.voter) {
        (false, "it has no vote yet".into())
    } else if let Some(waits) = waits {
        (false, waits.detail.clone())
    } else if !status.majority {
        (false, "no majority answers it".into())
    } else {
        let digest = &status.digest;
        (
            true,
            format!("history {}, digest {} at index {}", status.history.number, digest.digest, digest.index),
        )
    }
}

/// A member that was given up may have returned, and must not take part in the old history.
async fn lost(member: &NamedMember, target: &Target) -> Found {
    let name = member.name.clone();
    if !is_there(member, &target.tls.files()).await {
        return Found { name, ok: true, detail: "given up, and does not answer".into() };
    }
    let superseded = match target.client_of(std::slice::from_ref(&member.http), LOST_TIMEOUT) {
        Ok(client) => client.status().await.ok().and_then(|status| status.superseded_by),
        Err(_) => None,
    };
    match superseded {
        Some(by) => {
            let detail = format!("is back, and has given way to history {}", by.number);
            Found { name, ok: true, detail }
        }
        None => {
            Found { name, ok: false, detail: format!("is back at {}, and has not given way", member.http) }
        }
    }
}
