//! `lockstep recover verify`.

use super::super::common_args::Target;
use super::super::exit::Usage;
use super::super::output::Output;
use super::plan::{answers_at, id_of, read_plan};
use crate::api::{Status, WarningCode};
use crate::client::Client;
use crate::recover::{NamedMember, Plan};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

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

/// Asks everybody.
pub async fn verify(plan: &Path, target: &Target) -> Result<()> {
    let plan = read_plan(plan)?;
    let survivors =
        std::iter::once((&plan.seed, true)).chain(plan.others.iter().map(|it| (&it.node, it.voter)));
    let mut found = Vec::new();
    for (member, voter) in survivors {
        found.push(survivor(&plan, member, voter, target).await?);
    }
    for member in &plan.lost {
        found.push(lost(member).await);
    }
    let ok = found.iter().all(|found| found.ok);
    Output { json: target.json }.print(&found, || {
        let lines = found.iter().map(|Found { name, ok, detail }| {
            format!("{} {name}: {detail}", if *ok { "ok " } else { "NOT" })
        });
        lines.collect::<Vec<String>>().join("\n")
    })?;
    if ok { Ok(()) } else { Err(NotVerified.into()) }
}

async fn survivor(plan: &Plan, member: &NamedMember, voter: bool, target: &Target) -> Result<Found> {
    let client = Client::new(std::slice::from_ref(&member.http), target.timeout()).map_err(Usage)?;
    let (ok, detail) = match client.status().await {
        Err(error) => (false, error.to_string()),
        Ok(status) => judge(plan, &status, voter),
    };
    Ok(Found { name: member.name.clone(), ok, detail })
}

fn judge(plan: &Plan, status: &Status, voter: bool) -> (bool, String) {
    let me = status.members.iter().find(|member| member.id == status.node.id);
    let waits = status.warnings.iter().find(|warning| warning.code == WarningCode::WaitsForVoters);
    if status.history.id != id_of(plan) {
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
async fn lost(member: &NamedMember) -> Found {
    let name = member.name.clone();
    match answers_at(member).await {
        None => Found { name, ok: true, detail: "given up, and nothing answers there".into() },
        Some(at) => {
            let client = Client::new(std::slice::from_ref(&member.http), std::time::Duration::from_secs(2));
            let superseded = match client {
                Ok(client) => client.status().await.ok().and_then(|status| status.superseded_by),
                Err(_) => None,
            };
            match superseded {
                Some(by) => {
                    let detail = format!("is back, and has given way to history {}", by.number);
                    Found { name, ok: true, detail }
                }
                None => Found { name, ok: false, detail: format!("something answers at {at}") },
            }
        }
    }
}
