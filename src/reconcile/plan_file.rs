//! A plan as a file that people can read: JSON, one object a line.
//!
//! The first line is a [`PlanHeader`], the last one a [`PlanFooter`], and between them is a [`PlanLine`] for each key for which
//! something is to be done, decided or lost. The values are in it, so carrying it out needs nothing else. The hash over all
//! lines is the plan's id: what a person has read is what is carried out.

use super::base::BaseState;
use super::key_state::{KeyState, Written};
use super::plan::{Counts, Proposal};
use super::policy::{Rules, Side};
use super::verdict::{Action, Case, Guard};
use crate::cache::{Key, Stored, Value};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, ErrorKind, Write};
use xxhash_rust::xxh3::Xxh3;

/// What a plan file begins with.
const FORMAT: &str = "lockstep reconcile plan 1";

/// Where a side comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideHeader {
    /// Folder, file or URL.
    pub source: String,
    /// Id and number of its history.
    pub history: String,
    pub number: u64,
    /// Index of the last entry in the comparison.
    pub index: u64,
    /// Whether it noted which common keys went; else it may not know why a key is absent.
    pub exact: bool,
}

/// What a plan compares, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    pub format: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub cluster_id: String,
    /// The last index that both logs have.
    pub fork_index: u64,
    pub live: SideHeader,
    pub incoming: SideHeader,
    /// What incoming did up to this index was decided before; 0 if nothing since the fork was.
    pub decided_until: u64,
    /// How far the cluster had decided each history of incoming that goes on after the fork, by its id.
    pub decided: BTreeMap<String, u64>,
    /// Up to this index incoming is decided once the plan is carried out: entries that may not be committed may be others in
    /// another log of the same history.
    pub up_to: u64,
    /// Entries of incoming's log that are not known to be committed, and are part of the comparison.
    pub tail_entries: u64,
    /// Such entries that are no part of it: what they changed is set aside.
    pub left_out_entries: u64,
    /// How much later incoming's clock is taken to be than live's, in milliseconds.
    pub shift_ms: i64,
    pub rules: Rules,
}

impl PlanHeader {
    /// Fills in the format.
    pub fn format() -> String {
        FORMAT.to_owned()
    }
}

/// What is proposed for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    pub key: Key,
    pub case: Case,
    pub action: Action,
    pub guard: Guard,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loser: Option<Side>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_aside: bool,
    /// Neither side's change comes to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub both_lose: bool,
    /// What both had at the fork, of a conflict.
    #[serde(default, skip_serializing_if = "BaseState::is_unknown")]
    pub base: BaseState,
    pub live: KeyState,
    pub incoming: KeyState,
    /// The value that somebody chose instead of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Written>,
}

/// The end of a plan: how many keys of each kind, and the hash of all lines before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFooter {
    pub counts: Counts,
    pub plan_id: String,
}

impl PlanLine {
    /// A proposal, with the values of both sides.
    pub fn of(proposal: &Proposal, incoming: Option<&Stored>, live: Option<&Stored>) -> Self {
        let verdict = proposal.verdict;
        Self {
            key: proposal.key.clone(),
            case: verdict.case,
            action: verdict.action,
            guard: verdict.guard,
            loser: verdict.loser,
            set_aside: verdict.set_aside,
            both_lose: false,
            base: proposal.base.clone(),
            live: KeyState::of(proposal.live, live),
            incoming: KeyState::of(proposal.incoming, incoming),
            decided: None,
        }
    }

    /// The entry that is stored by [`Action::Put`].
    pub fn to_store(&self) -> Option<&Written> {
        self.decided.as_ref().or_else(|| self.incoming.written())
    }

    /// The sides whose changes do not come to be.
    pub fn losers(&self) -> impl Iterator<Item = Side> {
        let other = self.loser.filter(|_| self.both_lose).map(Side::other);
        self.loser.into_iter().chain(other)
    }
}

/// Writes a plan, line by line.
pub struct PlanWriter<W> {
    out: W,
    hash: Xxh3,
}

impl<W: Write> PlanWriter<W> {
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, header: &PlanHeader) -> io::Result<Self> {
        let mut writer = Self { out, hash: Xxh3::new() };
        writer.write(header)?;
        Ok(writer)
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.out.write_all(&text)
    }

    /// # Errors
    /// Those of the output.
    pub fn line(&mut self, line: &PlanLine) -> io::Result<()> {
        self.write(line)
    }

    /// Ends the plan. Returns the output and the plan's end.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self, counts: Counts) -> io::Result<(W, PlanFooter)> {
        let footer = PlanFooter { counts, plan_id: id(&self.hash) };
        self.write(&footer)?;
        self.out.flush()?;
        Ok((self.out, footer))
    }
}

fn id(hash: &Xxh3) -> String {
    format!("{:032x}", hash.digest128())
}

/// What a person or a program decides about a key that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub key: Key,
    /// The revisions of the values that were looked at, if it counts for those only; `Some(None)`, in JSON `null`, where there was
    /// none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub live_revision: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub incoming_revision: Option<Option<u64>>,
    #[serde(flatten)]
    pub choice: Choice,
}

impl Decision {
    /// Whether it is about this conflict as it is now.
    pub fn is_about(&self, line: &PlanLine) -> bool {
        let is_it = |seen: Option<Option<u64>>, state: &KeyState| {
            seen.is_none_or(|seen| state.written().map(|written| written.revision) == seen)
        };
        line.case.is_conflict()
            && is_it(self.live_revision, &line.live)
            && is_it(self.incoming_revision, &line.incoming)
    }
}

/// A field that is there, whatever it has.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "take", rename_all = "snake_case")]
pub enum Choice {
    Live,
    Incoming,
    /// Neither's: it becomes a miss.
    Remove,
    /// Live's, and incoming's is set aside.
    Quarantine,
    /// Neither's, but this one, as old as the later of both, and without a deadline.
    Value {
        #[serde(default)]
        value: Option<String>,
        #[serde(default)]
        value_base64: Option<String>,
        #[serde(default)]
        content_type: Option<String>,
    },
}

impl PlanLine {
    /// Decides a conflict, whatever was proposed before.
    ///
    /// # Errors
    /// A sentence: it is no conflict, or the value is none.
    pub fn decide(&mut self, choice: Choice) -> Result<(), String> {
        let key = self.key.as_str();
        if !self.case.is_conflict() {
            return Err(format!("{key:?} is no conflict"));
        }
        (self.set_aside, self.decided) = (false, None);
        self.both_lose = matches!(choice, Choice::Value { .. })
            || choice == Choice::Remove && self.live.written().is_some() && self.incoming.written().is_some();
        let incoming_has_one = self.incoming.written().is_some();
        let live_has_one = self.live.written().is_some();
        (self.action, self.loser) = match choice {
            Choice::Live => (Action::Keep, Some(Side::Incoming)),
            Choice::Incoming if incoming_has_one => (Action::Put, Some(Side::Live)),
            Choice::Incoming => (Action::Remove, Some(Side::Live)),
            // What live removed stays so.
            Choice::Remove if !live_has_one => (Action::Keep, Some(Side::Incoming)),
            Choice::Remove => (Action::Remove, Some(Side::Live)),
            Choice::Quarantine => {
                self.set_aside = true;
                (Action::Keep, Some(Side::Incoming))
            }
            Choice::Value { value, value_base64, content_type } => {
                let stamp = |state: &KeyState| state.stamp_ms();
                let stamp_ms = stamp(&self.live).max(stamp(&self.incoming));
                let written = |state: &KeyState| state.written().map_or(0, |written| written.version);
                let version = written(&self.live).max(written(&self.incoming)) + 1;
                let decided = Written {
                    revision: 0,
                    version,
                    stamp_ms,
                    expires_at_ms: None,
                    sliding_ms: 0,
                    content_type,
                    value,
                    value_base64,
                };
                let bytes = decided.bytes().map_err(|error| format!("{key:?}: {error}"))?;
                Value::new(bytes.into(), decided.content_type.as_deref())
                    .map_err(|error| format!("{key:?}: {error}"))?;
                self.decided = Some(decided);
                (Action::Put, Some(Side::Live))
            }
        };
        Ok(())
    }
}

/// Reads a plan to its end, and hands on each line.
///
/// # Errors
/// It is no plan, or it is cut short or changed; or what `each` says. Lines may have been handed on until then.
pub fn read_plan(
    source: impl BufRead,
    mut each: impl FnMut(&PlanHeader, PlanLine) -> io::Result<()>,
) -> io::Result<(PlanHeader, PlanFooter)> {
    read_lines(source, |header, text| each(header, serde_json::from_str(text).map_err(malformed)?))
}

/// Reads a plan to its end, and hands on what each line proposes to do. Copies nothing else.
///
/// # Errors
/// Those of [`read_plan`].
pub fn read_actions(
    source: impl BufRead,
    mut each: impl FnMut(Action),
) -> io::Result<(PlanHeader, PlanFooter)> {
    #[derive(Deserialize)]
    struct Proposed {
        action: Action,
    }
    read_lines(source, |_, text| {
        let Proposed { action } = serde_json::from_str(text).map_err(malformed)?;
        each(action);
        Ok(())
    })
}

fn read_lines(
    mut source: impl BufRead,
    mut each: impl FnMut(&PlanHeader, &str) -> io::Result<()>,
) -> io::Result<(PlanHeader, PlanFooter)> {
    let mut hash = Xxh3::new();
    let mut text = String::new();
    source.read_line(&mut text)?;
    let header: PlanHeader = serde_json::from_str(&text).map_err(malformed)?;
    if header.format != FORMAT {
        return Err(malformed(format!(
            "it has the format {:?}, this program reads {FORMAT:?}",
            header.format
        )));
    }
    loop {
        hash.update(text.as_bytes());
        text.clear();
        if source.read_line(&mut text)? == 0 {
            return Err(malformed("the plan ends early"));
        }
        // No key's line begins like this.
        if text.starts_with("{\"counts\"") {
            let footer: PlanFooter = serde_json::from_str(&text).map_err(malformed)?;
            let is_whole = footer.plan_id == id(&hash) && source.fill_buf()?.is_empty();
            return if is_whole { Ok((header, footer)) } else { Err(malformed("the plan was changed")) };
        }
        each(&header, &text)?;
    }
}

pub(super) fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
