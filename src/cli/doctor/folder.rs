//! The data folder of a node that does not run, and the certificates that it was given.

use super::super::common_args::TlsArgs;
use super::finding::Finding;
use super::resources::expiry;
use crate::lineage::HistoryKind;
use crate::node::{ROOT_TOKEN_FILE, StartError, survey};
use crate::recover::Survivor;
use crate::storage::OpenError;
use crate::tls::{read_key_file, read_owners};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Every check. Opens the folder as its node does, which verifies the whole log and the snapshot. Blocks.
pub(super) fn examine(folder: &Path, tls: &TlsArgs, now_s: i64) -> Vec<Finding> {
    let mut findings = vec![permissions(folder)];
    match survey(folder) {
        Ok(survivor) => findings.extend([contents(folder, &survivor), history(&survivor)]),
        Err(error) => findings.push(refused(folder, &error)),
    }
    findings.extend(files(tls, now_s));
    findings
}

/// Whether others can read what is cached, or the token that may do everything.
fn permissions(folder: &Path) -> Finding {
    let check = "permissions";
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode() & 0o777);
    let Some(own) = mode(folder) else {
        return Finding::bad(
            check,
            format!("{} cannot be read", folder.display()),
            "A node that finds no folder begins without data",
            "check the path and the mount",
        );
    };
    let token = folder.join(ROOT_TOKEN_FILE);
    let exposed = [(folder, Some(own)), (&token, mode(&token))];
    let exposed = exposed.into_iter().find(|(_, mode)| mode.is_some_and(|mode| mode & 0o077 != 0));
    match exposed {
        Some((path, Some(mode))) => Finding::warn(
            check,
            format!("{} has mode {mode:03o}", path.display()),
            "Other users of this machine can read what is in it",
            format!("chmod go= {}", path.display()),
        ),
        _ => Finding::ok(check, "only the owner reads the folder"),
    }
}

/// What the folder has, now that all of it was verified.
fn contents(folder: &Path, survivor: &Survivor) -> Finding {
    let (node, last) = (&survivor.node, survivor.last.index);
    Finding::ok(
        "folder",
        format!(
            "{} is that of {} (node {}) of cluster {}: log and snapshot are whole, up to index {last}",
            folder.display(),
            node.name,
            node.id,
            survivor.lineage.cluster_id()
        ),
    )
}

/// The history that the node goes on with, and whether that is the cluster's.
fn history(survivor: &Survivor) -> Finding {
    let current = survivor.lineage.current();
    let seen = format!("history {} ({})", current.number, current.id);
    if survivor.superseded_by.is_some() {
        return Finding::bad(
            "history",
            format!("{seen}, and the cluster goes on in another without this node"),
            "It refuses its clients, and may have writes that the cluster lacks",
            "lockstep reconcile plan brings them in; then delete the folder, and join with an empty one",
        );
    }
    if current.kind == HistoryKind::Detached {
        return Finding::warn(
            "history",
            format!("{seen}: this node has left its cluster on purpose"),
            "Its changes are not in the cluster",
            "start it, then: lockstep attach URL",
        );
    }
    Finding::ok("history", seen)
}

/// Why the folder cannot be opened.
fn refused(folder: &Path, error: &StartError) -> Finding {
    let check = "folder";
    match error {
        StartError::Open(OpenError::InUse { .. }) => Finding::unknown(
            check,
            format!("a node runs on {}: ask it with --url, or stop it first", folder.display()),
        ),
        StartError::Open(OpenError::Format { .. }) => Finding::bad(
            check,
            error.to_string(),
            "This program cannot read what another release wrote",
            "use the release that wrote it; see docs/formats.md",
        ),
        StartError::Identity(_) => Finding::bad(
            check,
            error.to_string(),
            "A node that finds no data here does not take up its place in its cluster",
            "check the path and the mount",
        ),
        _ => Finding::bad(
            check,
            error.to_string(),
            "A node that has forgotten what it acknowledged must not vote",
            "move the folder away, start the node with --replace-lost by-hand, then: lockstep member replace NAME",
        ),
    }
}

/// The files of `--cert-file`, `--key-file` and `--ca-file`.
fn files(tls: &TlsArgs, now_s: i64) -> Vec<Finding> {
    let check = "certificates";
    let unusable = |reason| {
        Finding::bad(
            check,
            reason,
            "The node does not start, or nobody believes it",
            "lockstep cert show FILE",
        )
    };
    let mut findings = Vec::new();
    for file in tls.cert_file.iter().chain(&tls.ca_file) {
        findings.push(match read_owners(file) {
            Ok(owners) => {
                let first = owners.iter().map(|owner| owner.expires_at).min().unwrap_or(i64::MAX);
                expiry(check, &file.display().to_string(), first, now_s)
            }
            Err(reason) => unusable(reason),
        });
    }
    findings.extend(tls.key_file.as_ref().map(|file| match read_key_file(file) {
        Ok(_) => Finding::ok("key", format!("{} is for its owner and group alone", file.display())),
        Err(reason) => unusable(reason),
    }));
    findings
}
