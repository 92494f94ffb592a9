//! Updates that come by another way than the cluster's stream.

use super::hash::hash_of;
use super::local::How;
use super::options::Direction;
use super::pull::forget_if_empty;
use super::state::{Core, Shared};
use super::types::{ChangeCause, ChangeOrigin, SyncChange, SyncError, SyncEvent};

/// How many keys' newest hints are remembered.
const REMEMBERED_MAX: usize = 10_000;

impl Shared {
    /// Takes a hint, unless something newer is known.
    pub(super) async fn take_hint(&self, core: &mut Core, event: SyncEvent) -> Result<(), SyncError> {
        let SyncEvent { key, value, timestamp, node, version } = event;
        let Some(rules) = self.groups.of(&key).filter(|rules| rules.direction != Direction::Up) else {
            return Ok(());
        };
        let hash = value.as_ref().map(hash_of);
        let latest = self.log_now_ms(core) + core.offset.map_or(0, |offset| offset.error_ms);
        let at = timestamp.min(latest);
        let record = core.record(&key);
        let hint = record.and_then(|record| record.hint.clone());
        if let Some(base) = record.and_then(|record| record.base.as_ref()) {
            // A node's version is a revision, and those have an order; other clocks have only times.
            let is_old = match core.nodes.contains(&node) {
                true => version <= base.at,
                false => (at, version) <= (base.modified_at_ms, base.version),
            };
            if is_old || (base.hash == hash && hint.is_none()) {
                return Ok(());
            }
        }
        let is_older = core.hints.get(&key).is_some_and(|last| (at, version) <= *last);
        // A local change waits: the cluster decides, at the next sync.
        let is_dirty = record.is_some_and(|record| record.is_dirty());
        if (hint.is_some() && is_older) || is_dirty {
            return Ok(());
        }
        if !rules.mirrors() && self.caches.current(&key).await?.is_none() {
            return Ok(());
        }
        if core.hints.len() >= REMEMBERED_MAX {
            core.hints.pop_first();
        }
        core.hints.insert(key.clone(), (at, version));
        // First that it is a hint, then the caches: else the value would pass for a change made here after a crash.
        core.journal.record(&key).hint = Some(hash);
        if let Err(error) = core.journal.write_key(&key).await {
            core.journal.record(&key).hint = hint;
            forget_if_empty(core, &key);
            return Err(error.into());
        }
        let also = hint.as_ref().and_then(Option::as_deref);
        let how = How { everywhere: rules.mirrors(), also, ..How::default() };
        if self.put(core, &key, value.as_ref(), how).await? {
            let cause = if value.is_some() { ChangeCause::Set } else { ChangeCause::Delete };
            let origin = ChangeOrigin::Remote;
            self.tell(SyncChange::Key { key, cause, origin, revision: None, value });
        }
        Ok(())
    }
}
