//! Samples of this node's activity: one per second, for the last hour. The front takes them. The node keeps them,
//! answers other members with them, and stores them in the data folder, so that they survive a restart.

use super::error::NodeError;
use super::{inner::Inner, start::Node};
use crate::api::NodeName;
use crate::peer::{Lane, Method, NodeId};
use crate::raft::offload;
use crate::replica::{from_postcard, to_bytes, wall_ms};
use crate::storage::{Rolled, RollingFile};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Samples kept: an hour, in less than a megabyte.
const SAMPLES_KEPT: usize = 3_600;
const AGE_MAX_MS: u64 = 3_600_000;
/// Timeout of a request for another member's samples.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Most such requests in flight.
const ASKING_MAX: usize = 32;
/// The format of the file; it changes with [`Sample`].
const FORMAT: &str = "samples 1";

/// One second: what happened in it, and the state at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, by the node's wall clock.
    pub at_ms: u64,
    pub requests: u64,
    pub errors: u64,
    pub reads: u64,
    pub writes: u64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub hits: u64,
    pub misses: u64,
    pub puts: u64,
    pub evicted: u64,
    pub expired: u64,
    pub touches: u64,
    pub flushes: u64,
    pub flush_us: Option<u64>,
    pub entries: u64,
    pub bytes: u64,
    pub applied_index: u64,
    pub is_leader: u64,
}

/// The samples of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplesOf {
    pub node: NodeName,
    /// That member's wall clock.
    pub now_ms: u64,
    /// Oldest first.
    pub samples: Vec<Sample>,
}

/// The samples of the last hour, oldest first.
pub(super) struct Samples {
    kept: Mutex<VecDeque<Sample>>,
    added: Notify,
    asking: Semaphore,
}

impl Default for Samples {
    fn default() -> Self {
        Self { kept: Mutex::default(), added: Notify::new(), asking: Semaphore::new(ASKING_MAX) }
    }
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.kept.lock().expect("no panic while held")
    }

    fn add(&self, sample: Sample) {
        let mut kept = self.lock();
        let is_old = |old: &Sample| old.at_ms.saturating_add(AGE_MAX_MS) <= sample.at_ms;
        while kept.len() == SAMPLES_KEPT || kept.front().is_some_and(is_old) {
            kept.pop_front();
        }
        kept.push_back(sample);
        drop(kept);
        self.added.notify_one();
    }

    fn since(&self, at_ms: u64) -> Vec<Sample> {
        self.lock().iter().filter(|sample| sample.at_ms > at_ms).copied().collect()
    }

    /// Puts samples from before a restart before the others. Omits those that are too old, and those from the future,
    /// which exist if the clock was set back.
    fn prepend(&self, earlier: Vec<Sample>, now_ms: u64) {
        let mut kept = self.lock();
        let first = kept.front().map_or(now_ms, |sample| sample.at_ms);
        let fits = |sample: &Sample| sample.at_ms < first && sample.at_ms.saturating_add(AGE_MAX_MS) > now_ms;
        for sample in earlier.into_iter().rev().filter(fits).take(SAMPLES_KEPT - kept.len()) {
            kept.push_front(sample);
        }
    }
}

/// The file in the data folder that stores the samples.
pub struct SampleFile {
    node: Node,
    file: RollingFile,
    /// The file has the samples up to this time.
    until_ms: u64,
}

impl Node {
    /// Adds a sample.
    pub fn add_sample(&self, sample: Sample) {
        self.inner.samples.add(sample);
    }

    /// A member's samples that were taken after `since_ms` by its own clock. Asks the member unless it is this node.
    ///
    /// # Errors
    /// There is no such member, it does not answer, or too many requests are in flight.
    pub async fn samples_of(&self, id: NodeId, since_ms: u64) -> Result<SamplesOf, NodeError> {
        let inner = &self.inner;
        let node = NodeName { id, name: self.member_name(id) };
        if id == self.id() {
            return Ok(SamplesOf { node, now_ms: wall_ms(), samples: inner.samples.since(since_ms) });
        }
        // An hour of samples is bulk data, so it does not use the control lane.
        let client = inner.consensus.peer(id, Lane::Forward);
        let client = client.ok_or_else(|| NodeError::NotFound(format!("there is no member {id}")))?;
        let _guard = inner.samples.asking.try_acquire().map_err(|_| NodeError::Busy)?;
        let silent =
            |reason: String| NodeError::Unavailable(format!("{} does not answer: {reason}", node.name));
        let answer = client.call(Method::Samples, to_bytes(&since_ms), ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| silent(error.to_string()))?;
        let (now_ms, samples) =
            from_postcard("samples", &answer).map_err(|error| silent(error.to_string()))?;
        Ok(SamplesOf { node, now_ms, samples })
    }

    /// Loads the samples from before a restart from the data folder. After that, [`SampleFile::run`] adds the new ones.
    /// A bad file does not stop the node: `None` means that it keeps its samples in memory only.
    pub async fn load_samples(&self) -> Option<SampleFile> {
        let path = self.inner.options.data_dir.join("samples");
        let owner = format!("{FORMAT} {} {}", self.inner.identity.cluster_id(), self.id());
        let shown = path.display().to_string();
        let opened = offload(move || RollingFile::open(path, &owner, SAMPLES_KEPT)).await;
        let Rolled { file, records, complaint } = match opened.and_then(|opened| opened) {
            Ok(rolled) => rolled,
            Err(error) => {
                tracing::warn!(%error, "samples are kept in memory only: {shown} cannot be used");
                return None;
            }
        };
        if let Some(complaint) = complaint {
            tracing::warn!("earlier samples are left out: {shown}: {complaint}");
        }
        let samples = records.iter().map_while(|record| from_postcard("a sample", record).ok()).collect();
        let now_ms = wall_ms();
        self.inner.samples.prepend(samples, now_ms);
        Some(SampleFile { node: self.clone(), file, until_ms: now_ms })
    }
}

impl SampleFile {
    /// Writes each new sample within a second, on a thread that is allowed to block. Returns when a write fails.
    pub async fn run(mut self) {
        loop {
            self.node.inner.samples.added.notified().await;
            let new = self.node.inner.samples.since(self.until_ms);
            let Some(last) = new.last() else { continue };
            self.until_ms = last.at_ms;
            let records: Vec<Vec<u8>> = new.iter().map(|sample| to_bytes(sample).to_vec()).collect();
            let mut file = self.file;
            let written = offload(move || -> io::Result<RollingFile> {
                file.append(&records)?;
                Ok(file)
            });
            match written.await.and_then(|written| written) {
                Ok(file) => self.file = file,
                Err(error) => {
                    tracing::warn!(%error, "samples are kept in memory only from now on: they cannot be written");
                    return;
                }
            }
        }
    }
}

/// Answers another node with this node's samples.
pub(super) fn answer_samples(inner: &Inner, body: &Bytes) -> Result<Bytes, String> {
    let since_ms = from_postcard("a time", body).map_err(|error| error.to_string())?;
    Ok(to_bytes(&(wall_ms(), inner.samples.since(since_ms))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: u64) -> Sample {
        Sample { at_ms, ..Sample::default() }
    }

    #[test]
    fn an_hour_is_kept() {
        let samples = Samples::default();
        for at_ms in 1..=SAMPLES_KEPT as u64 + 5 {
            samples.add(at(at_ms));
        }
        let kept = samples.since(0);
        assert_eq!((kept.len(), kept[0].at_ms), (SAMPLES_KEPT, 6));
        assert_eq!(samples.since(SAMPLES_KEPT as u64).len(), 5);
        // However few there are.
        samples.add(at(AGE_MAX_MS + 3_000));
        assert_eq!(samples.since(0)[0].at_ms, 3_001);
    }

    #[test]
    fn samples_from_before_a_restart_come_first() {
        let now_ms = 10 * AGE_MAX_MS;
        let samples = Samples::default();
        samples.add(at(now_ms - 1_000));
        let earlier = [now_ms - AGE_MAX_MS, now_ms - 5_000, now_ms - 4_000, now_ms - 1_000, now_ms + 9_000];
        samples.prepend(earlier.map(at).to_vec(), now_ms);
        let kept: Vec<u64> = samples.since(0).iter().map(|sample| now_ms - sample.at_ms).collect();
        assert_eq!(kept, [5_000, 4_000, 1_000]);
    }

    /// A file has room for each sample, whatever its numbers.
    #[test]
    fn a_sample_comes_back_from_its_record() {
        let most = Sample { p50_us: Some(u64::MAX), flush_us: None, bytes: u64::MAX, ..at(u64::MAX) };
        let record = to_bytes(&most);
        assert!(record.len() < 512, "{}", record.len());
        assert_eq!(from_postcard::<Sample>("a sample", &record), Ok(most));
    }
}
