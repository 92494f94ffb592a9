//! What the end of a log changed, where a plan leaves that end out.
//!
//! How far a log is committed is on disk only some time after it was acknowledged, so nobody can tell which entries of the end
//! were. None of them comes in, and nothing of them is lost: each change is set aside.

use super::base::BaseState;
use super::knowledge::{Fate, Knowledge};
use super::plan::{Counts, Proposal};
use super::policy::Side;
use super::verdict::{Action, Case, Guard, Verdict};
use super::view::{View, try_each_key};
use crate::cache::{Key, Scope};

/// Goes through the keys that a side changed after the index `until` of its log, in their order, and hands on a proposal for each that
/// sets it aside, unless live has the same. Then those of keys that are gone. `whole` is the side with all of its log, `counted` with
/// the part of it that counts.
///
/// # Errors
/// Those of `each`.
pub fn left_out<E>(
    whole: View<'_>,
    counted: View<'_>,
    until: u64,
    live: View<'_>,
    counts: &mut Counts,
    mut each: impl FnMut(Proposal) -> Result<(), E>,
) -> Result<(), E> {
    let mut settle = |key: Key, now: Knowledge, before: Knowledge| {
        let fate = match (now.fate, before.fate) {
            (Fate::Changed(entry), _) if entry.revision > until => now.fate,
            (Fate::Deleted { .. } | Fate::Lost { .. }, _) if now.fate != before.fate => now.fate,
            // A key that only this side knew leaves no note when it goes.
            (Fate::Absent | Fate::Unknown { .. }, Fate::Changed(entry)) => {
                Fate::Deleted { stamp_ms: entry.stamp_ms }
            }
            _ => return Ok(()),
        };
        let (now, ours) = (Knowledge { fate, ..now }, live.of(key.as_str()));
        let is_here = match (fate, ours.fate) {
            // Nobody knows how much of a counter is here.
            (Fate::Changed(theirs), Fate::Unchanged(ours) | Fate::Changed(ours)) => {
                theirs.hash == ours.hash && theirs.lifetime == ours.lifetime && theirs.number.is_none()
            }
            (Fate::Changed(_), _) => false,
            (_, ours) => !matches!(ours, Fate::Unchanged(_) | Fate::Changed(_)),
        };
        // What counts may change what is here.
        let comes_in = matches!(before.fate, Fate::Changed(_) | Fate::Deleted { .. } | Fate::Lost { .. });
        if is_here && !comes_in {
            return Ok(());
        }
        counts.left_out += 1;
        let (case, action, loser) = (Case::LeftOut, Action::Keep, Some(Side::Incoming));
        let verdict = Verdict { case, action, guard: Guard::Absent, loser, set_aside: true };
        each(Proposal { key, verdict, incoming: now, live: ours, base: BaseState::Unknown })
    };
    try_each_key(whole, counted, &mut settle)?;
    for tombstone in whole.cache.tombstones() {
        let Scope::Key(key) = &tombstone.scope else { continue };
        let has_entry = |view: &View<'_>| view.cache.stored(key.as_str()).is_some();
        if tombstone.revision > until && !has_entry(&whole) && !has_entry(&counted) {
            settle(key.clone(), whole.of(key.as_str()), counted.of(key.as_str()))?;
        }
    }
    Ok(())
}
