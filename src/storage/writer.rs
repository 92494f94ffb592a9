//! The one hand that writes: drain the queue, one atomic batch, one flush, then the callbacks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::manifest::{self, Manifest};
use super::recovery::Verified;
use super::shared::Shared;
use super::stage::Stage;
use super::watermark::Watermark;
use super::{Callback, Change, Engine, LogOptions, StorageError, record};

/// One operation in the ordered stream.
pub(super) enum Op {
    Append { entries: Vec<(u64, Bytes)>, done: Option<Callback> },
    Vote { bytes: Bytes, done: Callback },
    Committed { bytes: Bytes },
    Truncate { after: Option<u64>, done: Callback },
    Purge { index: u64, purged: Bytes, done: Callback },
    Identity { bytes: Bytes, done: Callback },
}

impl Op {
    /// Takes the callback out; most callers then drop the rest.
    pub(super) fn into_done(self) -> Option<Callback> {
        match self {
            Op::Append { done, .. } => done,
            Op::Committed { .. } => None,
            Op::Vote { done, .. }
            | Op::Truncate { done, .. }
            | Op::Purge { done, .. }
            | Op::Identity { done, .. } => Some(done),
        }
    }
}

/// The writer: what the disk holds after the last flush, and how more gets there.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    /// `None` for a database without a folder.
    watermark: Option<Watermark>,
    manifest: Manifest,
    /// Hash of the node's own record.
    identity: Option<u128>,
}

impl Writer {
    pub(super) fn new(
        found: Verified,
        engine: Arc<dyn Engine>,
        watermark: Option<Watermark>,
        options: LogOptions,
    ) -> Writer {
        let Verified { manifest, index, identity } = found;
        let (identity, hash) = identity.unzip();
        let shared = Arc::new(Shared::new(&manifest, index, identity, engine, options));
        Writer { shared, watermark, manifest, identity: hash }
    }

    /// Runs until the store is closed and the queue is empty, or until the first failure.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.rounds()));
        if outcome.is_err() {
            let panicked = std::io::Error::other("the writer thread panicked");
            shared.fail(StorageError::io("write the log")(panicked));
        }
    }

    fn rounds(&mut self) {
        while let Some(ops) = self.shared.next_round() {
            if !self.round(ops) {
                return;
            }
        }
        // Worth trying: a closed store is then as well protected as a running one. It may lag, so failing is no harm.
        let _ = self.watermark.as_ref().map(Watermark::sync);
    }

    /// Makes the operations durable and tells those who wait for them. False after a failure, which is the end.
    pub(super) fn round(&mut self, ops: Vec<Op>) -> bool {
        let mut callbacks = Vec::new();
        match self.commit(ops, &mut callbacks) {
            Ok(()) => {
                self.shared.evict();
                callbacks.into_iter().for_each(|done| done(Ok(())));
                true
            }
            Err(error) => {
                // Nobody may hear of success, or write again, once a failure is known; so poison first.
                let waiting = self.shared.poison(&error);
                callbacks.into_iter().for_each(|done| done(Err(error.clone())));
                waiting.into_iter().for_each(|done| done(Err(error.clone())));
                self.shared.tell_poisoned(&error);
                false
            }
        }
    }

    fn commit(&mut self, ops: Vec<Op>, callbacks: &mut Vec<Callback>) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        let mut stage = Stage::new(&*shared.engine, &shared.index, shared.options.record_bytes());
        let mut failed = None;
        for op in ops {
            if failed.is_none() {
                failed = self.stage_op(&mut stage, &op).err();
            }
            if failed.is_none()
                && let Op::Append { entries, done } = op
            {
                stage.append(entries);
                callbacks.extend(done);
            } else {
                callbacks.extend(op.into_done());
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        stage.write_run();
        self.seal(&mut stage);
        self.write(stage.finish())
    }

    /// Applies one operation to the manifest and the batch; the entries of an append are added by the caller.
    fn stage_op(&mut self, stage: &mut Stage<'_>, op: &Op) -> Result<(), StorageError> {
        let log = &mut self.manifest.log;
        match op {
            Op::Append { entries, .. } => {
                if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
                    log.append(*first, *last);
                }
            }
            Op::Vote { bytes, .. } => log.vote = Some(bytes.clone()),
            Op::Committed { bytes } => log.committed = Some(bytes.clone()),
            Op::Truncate { after, .. } => {
                if let Some(cut) = log.truncate(*after) {
                    // With no entry left, a record that held purged entries goes as well.
                    stage.truncate(if log.last_index.is_none() { 0 } else { cut })?;
                }
            }
            Op::Purge { index, purged, .. } => {
                if let Some(first) = log.purge(*index, purged.clone()) {
                    stage.purge(first);
                }
            }
            Op::Identity { bytes, .. } => {
                self.identity = Some(stage.put(record::IDENTITY_KEY, bytes.to_vec()));
            }
        }
        Ok(())
    }

    /// Adds the manifest that describes the store after this batch.
    fn seal(&mut self, stage: &mut Stage<'_>) {
        let index = self.shared.index.read().expect("not poisoned");
        self.manifest.seq += 1;
        self.manifest.records = index.count + u64::from(self.identity.is_some());
        self.manifest.sum = index.sum.wrapping_add(self.identity.unwrap_or(0));
        self.shared.set_log_bytes(index.bytes);
        stage.put_raw(manifest::KEY, self.manifest.encode());
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), StorageError> {
        self.shared.engine.apply(batch).map_err(StorageError::io("write the log"))?;
        let started = Instant::now();
        self.shared.engine.flush().map_err(StorageError::io("flush the log"))?;
        self.shared.flushed(started.elapsed());
        // What was not flushed is not vouched for: the watermark would notice the loss at the next start.
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::SkipFsync.is_chosen() {
            return Ok(());
        }
        let Some(watermark) = &self.watermark else { return Ok(()) };
        watermark.record(self.manifest.seq).map_err(StorageError::io("write the watermark"))
    }
}
