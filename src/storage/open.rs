//! Opening a log store. Production code calls [`LogStore::open`]; tests and simulations put engines of their own below it
//! with a [`LogStoreBuilder`].

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::log_store_inner::{LogStoreInner, WriterHandle};
use super::recovery::{self, Recovered, WrapEngine};
use super::writer::Writer;
use super::{Engine, LogOptions, LogStore, OpenError};

impl LogStore {
    /// Opens or creates the store in `dir` and verifies all of it. Refuses when another process has it, and when
    /// anything that was acknowledged is damaged or missing; a refused folder stays refused.
    pub fn open(dir: &Path, options: LogOptions) -> Result<LogStore, OpenError> {
        let builder = LogStoreBuilder::new(options);
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::SkipFsync.is_chosen() {
            use super::unflushed_engine::UnflushedEngine;
            return builder.wrap_journal(|engine| Arc::new(UnflushedEngine::new(engine))).open(dir);
        }
        builder.open(dir)
    }
}

/// Opens a log store with hooks for tests.
pub struct LogStoreBuilder {
    options: LogOptions,
    wrap_journal: WrapEngine,
    wrap_database: WrapEngine,
}

impl LogStoreBuilder {
    /// Without hooks.
    pub fn new(options: LogOptions) -> Self {
        Self { options, wrap_journal: Box::new(|engine| engine), wrap_database: Box::new(|engine| engine) }
    }

    /// Puts an engine between the store and its journal: it sees every batch and every flush, and can fail them.
    #[must_use]
    pub fn wrap_journal(self, wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine> + 'static) -> Self {
        Self { wrap_journal: Box::new(wrap), ..self }
    }

    /// Puts an engine between the journal and the database: it sees every checkpoint.
    #[must_use]
    pub fn wrap_database(self, wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine> + 'static) -> Self {
        Self { wrap_database: Box::new(wrap), ..self }
    }

    /// Opens or creates the store in `dir`, like [`LogStore::open`].
    ///
    /// # Errors
    /// Those of [`LogStore::open`].
    pub fn open(self, dir: &Path) -> Result<LogStore, OpenError> {
        let Self { options, wrap_journal, wrap_database } = self;
        let Recovered { lock, engine, watermark, found } = recovery::open(dir, &options, wrap_database)?;
        let writer = Writer::new(found, wrap_journal(Arc::new(engine)), Some(watermark), options);
        let shared = writer.shared.clone();
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(OpenError::io("start the writer thread of", dir))?;
        Ok(LogStore::new(LogStoreInner::new(shared, WriterHandle::Thread(thread), Some(lock))))
    }

    /// Opens a store on a database of the caller's, verified like any other, without a writer thread: it writes only
    /// when [`LogStore::flush_batch`] is called. Simulations decide with it when the disk works. The hooks are not used.
    ///
    /// # Errors
    /// The database cannot be read, or is damaged.
    pub fn open_stepped(self, engine: Arc<dyn Engine>) -> Result<LogStore, OpenError> {
        let found = recovery::adopt(&*engine)?;
        let writer = Writer::new(found, engine, None, self.options);
        let shared = writer.shared.clone();
        Ok(LogStore::new(LogStoreInner::new(shared, WriterHandle::Caller(Box::new(writer)), None)))
    }
}
