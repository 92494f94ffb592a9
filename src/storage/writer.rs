//! The single writer: takes operations from the queue, applies them as one atomic batch, flushes once, then runs the
//! callbacks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::batch_builder::BatchBuilder;
use super::log_op::{Callback, LogOp};
use super::manifest::{self, Manifest};
use super::recovery::Verified;
use super::shared::Shared;
use super::watermark::Watermark;
use super::{Engine, LogOptions, Mutation, StorageError, record};

/// The writer, with what the disk holds after the last flush.
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
        let outcome = catch_unwind(AssertUnwindSafe(|| self.flush_until_closed()));
        if outcome.is_err() {
            let panicked = std::io::Error::other("the writer thread panicked");
            shared.fail(StorageError::io("write the log")(panicked));
        }
    }

    fn flush_until_closed(&mut self) {
        while let Some(ops) = self.shared.next_batch() {
            if !self.flush_batch(ops) {
                return;
            }
        }
        // After this, a closed store is protected as well as a running one. The watermark may lag, so failing does no harm.
        let _ = self.watermark.as_ref().map(Watermark::sync);
    }

    /// Makes the operations durable and runs their callbacks. False after a failure, after which nothing is written.
    pub(super) fn flush_batch(&mut self, ops: Vec<LogOp>) -> bool {
        let mut callbacks = Vec::new();
        match self.commit(ops, &mut callbacks) {
            Ok(()) => {
                self.shared.evict();
                callbacks.into_iter().for_each(|done| done(Ok(())));
                true
            }
            Err(error) => {
                // Once a failure is known, no caller may get a success or write again; so poison first.
                let waiting = self.shared.poison(&error);
                callbacks.into_iter().for_each(|done| done(Err(error.clone())));
                waiting.into_iter().for_each(|done| done(Err(error.clone())));
                false
            }
        }
    }

    fn commit(&mut self, ops: Vec<LogOp>, callbacks: &mut Vec<Callback>) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        let mut builder = BatchBuilder::new(&*shared.engine, &shared.index, shared.options.record_bytes());
        let mut failed = None;
        for op in ops {
            if failed.is_none() {
                failed = self.add(&mut builder, &op).err();
            }
            if failed.is_none()
                && let LogOp::Append { entries, done } = op
            {
                builder.append(entries);
                callbacks.extend(done);
            } else {
                callbacks.extend(op.into_done());
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        builder.write_run();
        self.add_manifest(&mut builder);
        self.write(builder.finish())
    }

    /// Applies one operation to the manifest and the batch; the caller adds the entries of an append.
    fn add(&mut self, builder: &mut BatchBuilder<'_>, op: &LogOp) -> Result<(), StorageError> {
        let log = &mut self.manifest.log;
        match op {
            LogOp::Append { entries, .. } => {
                if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
                    log.append(*first, *last);
                }
            }
            LogOp::Vote { bytes, .. } => log.vote = Some(bytes.clone()),
            LogOp::Committed { bytes } => log.committed = Some(bytes.clone()),
            LogOp::Truncate { after, .. } => {
                if let Some(cut) = log.truncate(*after) {
                    // With no entry left, a record that still holds purged entries is removed as well.
                    builder.truncate(if log.last_index.is_none() { 0 } else { cut })?;
                }
            }
            LogOp::Purge { index, purged, .. } => {
                if let Some(first) = log.purge(*index, purged.clone()) {
                    builder.purge(first);
                }
            }
            LogOp::Identity { bytes, .. } => {
                self.identity = Some(builder.put(record::IDENTITY_KEY, bytes.to_vec()));
            }
        }
        Ok(())
    }

    /// Adds the manifest that describes the store after this batch.
    fn add_manifest(&mut self, builder: &mut BatchBuilder<'_>) {
        let index = self.shared.index.read().expect("not poisoned");
        self.manifest.seq += 1;
        self.manifest.records = index.count + u64::from(self.identity.is_some());
        self.manifest.sum = index.sum.wrapping_add(self.identity.unwrap_or(0));
        builder.put_raw(manifest::KEY, self.manifest.encode());
    }

    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), StorageError> {
        self.shared.engine.apply(batch).map_err(StorageError::io("write the log"))?;
        let started = Instant::now();
        self.shared.engine.flush().map_err(StorageError::io("flush the log"))?;
        self.shared.flushed(started.elapsed());
        let records = self.shared.index.read().expect("not poisoned").bytes;
        self.shared.set_log_bytes(records.max(self.shared.engine.journal_bytes()));
        // The watermark must not vouch for what was not flushed: the next start would notice the loss.
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::SkipFsync.is_chosen() {
            return Ok(());
        }
        let Some(watermark) = &self.watermark else { return Ok(()) };
        watermark.record(self.manifest.seq).map_err(StorageError::io("write the watermark"))
    }
}
