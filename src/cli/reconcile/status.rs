//! `lockstep reconcile status`, `abort` and `forget`.

use super::super::common_args::Target;
use super::super::kv::connect;
use crate::api::{MergeEndRequest, MergeStepRequest};
use anyhow::{Result, bail};
use serde_json::json;

/// Prints what the cluster remembers.
pub async fn status(target: &Target) -> Result<()> {
    let (client, output) = connect(target)?;
    let told = client.reconciliations().await?;
    output.print(&told, || {
        let mut lines = Vec::new();
        for merge in &told.merges {
            let end = match merge.end {
                None => format!("step {} is due", merge.next_step),
                Some(MergeEndRequest::UpTo(index)) => format!("ended, up to index {index}"),
                Some(MergeEndRequest::Aborted) => "aborted".to_owned(),
                Some(MergeEndRequest::Forgotten) => "forgotten".to_owned(),
            };
            lines.push(format!(
                "merge {} of history {}: {end}; {} done, {} changed meanwhile, {} did not fit, {} refused",
                merge.id, merge.history, merge.done, merge.changed, merge.full, merge.invalid
            ));
        }
        for fork in &told.forks {
            let whole = if fork.complete { "" } else { ", and there were more" };
            let until = match fork.limit {
                Some(limit) => format!("up to index {limit}"),
                None => "until its node leaves".to_owned(),
            };
            lines.push(format!(
                "fork to history {}: {} of the entries {until} are gone and noted{whole}",
                fork.history, fork.noted
            ));
        }
        if lines.is_empty() { "no merges, no open forks".to_owned() } else { lines.join("\n") }
    })
}

/// Ends a merge that goes on.
pub async fn abort(id: &str, target: &Target) -> Result<()> {
    let (client, output) = connect(target)?;
    let merges = client.reconciliations().await?.merges;
    let Some(merge) = merges.into_iter().find(|merge| merge.id == id) else {
        bail!("the cluster knows no merge {id}");
    };
    if merge.end.is_some() {
        bail!("merge {id} has ended");
    }
    let step = MergeStepRequest {
        merge: merge.id,
        history: merge.history,
        step: merge.next_step,
        after: 0,
        planned_at: 0,
        ops: Vec::new(),
        end: Some(MergeEndRequest::Aborted),
    };
    client.merge_step(&step).await?;
    output.print(&json!({"aborted": id}), || format!("merge {id} is aborted; what has come in stays"))
}

/// Closes a fork without bringing anything in.
pub async fn forget(history: &str, target: &Target) -> Result<()> {
    let (client, output) = connect(target)?;
    if !client.forget_history(history).await? {
        bail!("no fork to history {history} is open");
    }
    output
        .print(&json!({"forgotten": history}), || format!("nothing is noted for history {history} any more"))
}
