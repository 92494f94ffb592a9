//! The durable state of a synchronizer: one checksummed line for each step.

use super::decide::ChangeKind;
use super::record::{BatchRecord, InFlight, Intent, KeyRecord, Line, LineRef, Meta, parse_line};
use super::storage::SyncStorage;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// What is known of keys, batches and the cluster, here and in the storage.
pub(super) struct Journal {
    storage: Arc<dyn SyncStorage>,
    pub(super) meta: Meta,
    pub(super) keys: BTreeMap<String, KeyRecord>,
    pub(super) batches: BTreeMap<String, BatchRecord>,
    /// The highest number of an intent.
    pub(super) seq: u64,
    /// Additions of which a damaged line said whether they were counted.
    pub(super) lost_adds: Vec<(String, i64)>,
    /// Lines in the storage.
    lines: usize,
    /// A failed append may have left half a line, so everything is written anew.
    broken: bool,
}

/// What is noted beside keys.
#[derive(Default)]
pub(super) struct Step<'a> {
    /// A batch that is about to be sent.
    pub(super) begin: Option<&'a str>,
    /// A batch that is done.
    pub(super) end: Option<&'a str>,
    /// What is known of the cluster.
    pub(super) meta: bool,
}

impl Journal {
    pub(super) fn new(storage: Arc<dyn SyncStorage>) -> Self {
        Self {
            storage,
            meta: Meta::default(),
            keys: BTreeMap::new(),
            batches: BTreeMap::new(),
            seq: 0,
            lost_adds: Vec::new(),
            lines: 0,
            broken: false,
        }
    }

    /// Reads what an earlier run left. Damaged lines are set aside, and returned.
    pub(super) async fn load(&mut self) -> io::Result<Vec<String>> {
        let lines = self.storage.load().await?;
        self.lines = lines.len();
        let mut damaged = Vec::new();
        for text in lines {
            match parse_line(&text) {
                Some(line) => self.replay(line),
                None => damaged.push(text),
            }
        }
        self.mend();
        if !damaged.is_empty() {
            // First they are safe elsewhere, then they go from here.
            self.storage.set_aside(damaged.clone()).await?;
            self.replace().await?;
        }
        Ok(damaged)
    }

    /// The history that the cluster was last in.
    pub(super) fn history(&self) -> &str {
        self.meta.histories.last().map_or("", String::as_str)
    }

    pub(super) fn record(&mut self, key: &str) -> &mut KeyRecord {
        self.keys.entry(key.to_owned()).or_default()
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Notes one key, as it is now.
    pub(super) async fn write_key(&mut self, key: &str) -> io::Result<()> {
        self.write(&BTreeSet::from([key.to_owned()]), Step::default()).await
    }

    /// Notes these keys, as they are now, and more; ends when all of that survives a crash.
    pub(super) async fn write(&mut self, keys: &BTreeSet<String>, step: Step<'_>) -> io::Result<()> {
        let mut lines = Vec::with_capacity(keys.len() + 1);
        if let Some(batch) = step.begin.and_then(|id| self.batches.get(id)) {
            lines.push(LineRef::Begin(batch).text());
        }
        let forgotten = KeyRecord::default();
        for k in keys {
            let record = self.keys.get(k).unwrap_or(&forgotten);
            lines.push(LineRef::Key { k, record }.text());
        }
        if let Some(id) = step.end {
            lines.push(LineRef::End { id }.text());
        }
        if step.meta {
            lines.push(LineRef::Meta(&self.meta).text());
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.lines += lines.len();
        if self.broken || self.lines > 4 * (self.keys.len() + self.batches.len()) + 1000 {
            return self.replace().await;
        }
        self.broken = true;
        self.storage.append(lines).await?;
        self.broken = false;
        Ok(())
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.storage.close().await
    }

    async fn replace(&mut self) -> io::Result<()> {
        let mut all = vec![LineRef::Meta(&self.meta).text()];
        all.extend(self.batches.values().map(|batch| LineRef::Begin(batch).text()));
        all.extend(self.keys.iter().map(|(k, record)| LineRef::Key { k, record }.text()));
        let lines = all.len();
        self.broken = true;
        self.storage.replace(all).await?;
        (self.broken, self.lines) = (false, lines);
        Ok(())
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Meta(meta) => self.meta = meta,
            // A key without anything has been forgotten.
            Line::Key { k, record } if record.is_empty() => drop(self.keys.remove(&k)),
            Line::Key { k, record } => {
                self.seq = self.seq.max(record.intent.as_ref().map_or(0, |intent| intent.seq));
                self.keys.insert(k, *record);
            }
            Line::Begin(batch) => {
                let newest = batch.items.iter().map(|item| item.intent.seq).max();
                self.seq = self.seq.max(newest.unwrap_or(0));
                self.batches.insert(batch.id.clone(), batch);
            }
            // Keys that still wait for the batch, because their own line was lost, get their intent back.
            Line::End { id } => {
                let items = self.batches.remove(&id).map(|batch| batch.items).unwrap_or_default();
                for item in items {
                    self.give_back(&item.key, &id);
                }
            }
        }
    }

    fn give_back(&mut self, key: &str, batch: &str) {
        let Some(record) = self.keys.get_mut(key).filter(|record| record.is_in_flight(batch)) else { return };
        let sent = record.in_flight.take().map(|sent| sent.intent);
        record.intent = record.intent.take().or(sent);
        // It may have been carried out, so what was agreed upon before says nothing.
        record.base = None;
    }

    /// Brings keys and batches together where lines were lost.
    fn mend(&mut self) {
        for batch in self.batches.values() {
            for item in &batch.items {
                let is_sent = |intent: &mut Intent| intent.seq == item.intent.seq;
                let Some(record) = self.keys.get_mut(&item.key) else { continue };
                if let Some(intent) = record.intent.take_if(is_sent) {
                    record.in_flight = Some(InFlight { id: batch.id.clone(), intent });
                }
            }
        }
        let mut lost = Vec::new();
        for (key, record) in &self.keys {
            let Some(InFlight { id, intent }) = &record.in_flight else { continue };
            self.seq = self.seq.max(intent.seq);
            if !self.batches.contains_key(id) {
                lost.push((key.clone(), id.clone(), intent.kind, intent.by));
            }
        }
        for (key, id, kind, by) in lost {
            if kind != ChangeKind::Add {
                self.give_back(&key, &id);
                continue;
            }
            self.record(&key).in_flight = None;
            self.lost_adds.push((key, by));
        }
    }
}
