//! Recovers folders after the loss of a majority: the best survivor's becomes the start of a new history, the others are
//! emptied and told to join it. The old content is kept aside.

use super::StartError;
use super::folder::open_folder;
use super::identity::Identity;
use super::rejoin::Rejoin;
use super::restore::begin_history;
use crate::raft::{HistoryStart, StoredLogCopy};
use crate::recover::{
    FolderState, LastEntry, MembershipAt, NamedMember, Plan, SURVIVOR_VERSION, Survivor, TailChange,
};
use crate::replica::{Content, Envelope, Member, StoredMembership};
use crate::storage::FolderSwitch;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many changes after the committed ones a report names.
const TAIL_CHANGES_MAX: usize = 100;

/// Why a folder was not recovered. It is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the folder is that of {0}, which this plan does not name as a survivor")]
    NotNamed(String),
    #[error(
        "its node has run since the plan was made: then the log ended at index {planned}, now at {now}; make a new plan"
    )]
    Changed { now: u64, planned: u64 },
    #[error("it has given way to history {0}: it is no survivor")]
    Superseded(u64),
    #[error("by an earlier plan it joins history {0}; its old content is in aside/")]
    JoinsAnother(String),
    #[error("the plan's seed has no URL for clients, so the others cannot join it: name one with --join")]
    NoUrl,
    #[error("it belongs to user {owner}, and this is user {me}: run this as the user that runs the node")]
    Owner { owner: u32, me: u32 },
    #[error("the plan is not valid: {0}")]
    Plan(&'static str),
    #[error("the folder cannot be read or written: {0}")]
    Io(#[from] io::Error),
}

/// What was done with a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// It is the start of the new history.
    Seed,
    /// It is empty, and its node joins the new history.
    Joins,
    /// An earlier run has done it.
    Already,
}

/// What the folder of a survivor says. Its node must not run. Blocks.
///
/// # Errors
/// [`StartError`]: it is no data folder of a member, a node runs on it, or it is damaged.
pub fn survey(folder: &Path) -> Result<Survivor, StartError> {
    let (identity, log) = open_folder(folder)?;
    let unreadable = |error: io::Error| StartError::Identity(error.to_string());
    let (tail, last_entry_at_ms) = tail_of(&log).map_err(unreadable)?;
    let heard_of = log.state(u64::MAX).map_err(unreadable)?.highest_index();
    let FolderState { last, committed_index, voted_term } = folder_state(&log);
    Ok(Survivor {
        survivor: SURVIVOR_VERSION,
        folder: folder.display().to_string(),
        node: own_record(&identity, &log),
        term_starts: log.terms.iter().collect(),
        last,
        committed_index,
        voted_term,
        memberships: log.memberships.iter().map(named).collect(),
        heard_of,
        last_entry_at_ms,
        tail,
        superseded_by: identity.superseded_by.map(|successor| successor.lineage),
        lineage: identity.lineage,
    })
}

/// This node in the newest membership that its log has, or what its folder says where there is none.
fn own_record(identity: &Identity, log: &StoredLogCopy) -> NamedMember {
    let known =
        log.memberships.iter().rev().find_map(|known| known.membership.members.get(&identity.node_id));
    let http = known.map(|known| known.http.clone()).unwrap_or_default();
    NamedMember {
        id: identity.node_id,
        name: identity.name.clone(),
        http,
        peer: identity.peer.clone(),
        store_uuid: log.store_uuid().unwrap_or_default(),
    }
}

fn named(known: &StoredMembership) -> MembershipAt {
    let members = known.membership.members.iter().map(|(id, member)| {
        let Member { name, http, peer, store_uuid } = member.clone();
        NamedMember { id: *id, name, http, peer, store_uuid }
    });
    MembershipAt {
        index: known.position.map_or(0, |position| position.index),
        voters: known.membership.voters.clone(),
        members: members.collect(),
    }
}

/// What the first entries after the committed ones change, and log time at the last entry.
fn tail_of(log: &StoredLogCopy) -> io::Result<(Vec<TailChange>, Option<u64>)> {
    let (mut tail, mut at_ms) = (Vec::new(), None);
    log.each_entry(log.snapshot_index(), u64::MAX, |entry| {
        let Content::Command(proposal) = entry.content else { return Ok(()) };
        at_ms = Some(proposal.at_ms);
        let index = entry.position.index;
        if index > log.committed_index && tail.len() < TAIL_CHANGES_MAX {
            let keys = Envelope::decode(&proposal.body)?.command.written_keys();
            if !keys.is_empty() {
                tail.push(TailChange { index, keys });
            }
        }
        Ok(())
    })?;
    Ok((tail, at_ms))
}

/// Carries a plan out on one survivor's folder. Its node must not run. The others join the seed at `url`, or at the URL that it
/// had. The new history takes clients' writes once as many nodes have votes as survivors had, or at once with `serve_now`.
/// Whenever it breaks off, the folder is the old one or the new one, and it can be run again. Blocks.
///
/// # Errors
/// [`RecoverError`].
pub fn recover_folder(
    plan: &Plan,
    folder: &Path,
    url: Option<&str>,
    serve_now: bool,
) -> Result<Recovered, RecoverError> {
    // What the folder held is kept under the name of its history.
    let aside = &plan.ended_history().map_err(RecoverError::Plan)?.id;
    let history = &plan.lineage.current().id;
    let voters_awaited = if serve_now { 0 } else { plan.voters() };
    if folder.is_dir() {
        refuse_foreign_owner(folder)?;
        FolderSwitch::finish(folder).map_err(StartError::from)?;
    }
    let opened = open_folder(folder);
    if matches!(opened, Err(StartError::Identity(_)))
        && let Some(rejoin) = Rejoin::load(folder)?
    {
        if rejoin.history != *history {
            return Err(RecoverError::JoinsAnother(rejoin.history));
        }
        let url = url.map_or(rejoin.url.clone(), str::to_owned);
        let voters_awaited = voters_awaited.min(rejoin.voters_awaited);
        Rejoin { url, voters_awaited, ..rejoin }.save(folder)?;
        return Ok(Recovered::Already);
    }
    let (identity, log) = opened?;
    if identity.lineage.current().id == *history {
        // Never more than it waits for now: the cluster may have changed since.
        let voters_awaited = voters_awaited.min(identity.voters_awaited);
        if let Some(store) = log.store() {
            Identity { voters_awaited, ..identity }.save(store)?;
        }
        return Ok(Recovered::Already);
    }
    if let Some(successor) = &identity.superseded_by {
        return Err(RecoverError::Superseded(successor.lineage.current().number));
    }
    let node = own_record(&identity, &log);
    let planned = plan.survivor(&node.store_uuid).ok_or(RecoverError::NotNamed(node.name))?;
    if folder_state(&log) != planned.state {
        return Err(RecoverError::Changed { now: log.last_index, planned: planned.state.last.index });
    }
    let is_seed = planned == &plan.seed;
    let switch = FolderSwitch::prepare(folder)?;
    if is_seed {
        let NamedMember { name, http, peer, .. } = planned.node.clone();
        let node = Member { name, http, peer, store_uuid: String::new() };
        let (start, lineage) = (HistoryStart::of_log(&log, u64::MAX)?, plan.lineage.clone());
        begin_history(start, lineage, &switch.next(), node, |identity| {
            identity.voters_awaited = voters_awaited;
        })?;
    } else {
        let url = url.unwrap_or(&plan.seed.node.http).to_owned();
        if url.is_empty() {
            return Err(RecoverError::NoUrl);
        }
        let NamedMember { name, peer, .. } = planned.node.clone();
        let (history, voter) = (history.clone(), planned.voter);
        Rejoin { history, url, name, peer, voter, voters_awaited, comes_from: None }.save(&switch.next())?;
    }
    switch.commit(aside)?;
    // Lets go of the old folder, so that it can be exchanged.
    drop(log);
    FolderSwitch::finish(folder).map_err(StartError::from)?;
    Ok(if is_seed { Recovered::Seed } else { Recovered::Joins })
}

/// The node could not open what another user writes into its folder.
fn refuse_foreign_owner(folder: &Path) -> Result<(), RecoverError> {
    let owner = folder.metadata()?.uid();
    // SAFETY: it only reads this process's user.
    let me = unsafe { libc::geteuid() };
    if owner == me { Ok(()) } else { Err(RecoverError::Owner { owner, me }) }
}

fn folder_state(log: &StoredLogCopy) -> FolderState {
    let term = log.terms.at(log.last_index).map_or(0, |start| start.term);
    let last = LastEntry { term, index: log.last_index };
    FolderState { last, committed_index: log.committed_index, voted_term: log.voted_term }
}
