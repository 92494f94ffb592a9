//! Watches the nodes while a run goes on, past the proxies, and holds what they say against the invariants.

use super::cluster::{Address, Directory};
use super::invariants::{Invariant, Sighting};
use super::load::Recorded;
use lockstep::api::{Digests, Status};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const LOOK: Duration = Duration::from_millis(200);
/// The newest 1,024 digests are told: often enough that none is missed at the rates here.
const DIGESTS_EVERY: u32 = 5;
const ANSWER_LIMIT: Duration = Duration::from_millis(900);

/// What was seen and what is wrong with it.
pub struct Seen {
    invariants: Vec<Box<dyn Invariant>>,
    /// Each invariant's first violation.
    pub violations: Vec<String>,
    /// (term, node) of everybody who said that it leads.
    pub leaders: BTreeSet<(u64, u64)>,
    pub sightings: u64,
}

impl Seen {
    fn check(&mut self, look: impl Fn(&mut dyn Invariant) -> Result<(), String>) {
        for invariant in &mut self.invariants {
            if let Err(what) = look(invariant.as_mut()) {
                let name = invariant.name();
                // One example of each is enough to read.
                if !self.violations.iter().any(|known| known.starts_with(name)) {
                    self.violations.push(format!("{name}: {what}"));
                }
            }
        }
    }
}

pub struct Monitor {
    pub seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Monitor {
    /// Watches the nodes of a cluster, and sets `hopeless` at the first violation.
    pub fn start(directory: Directory, hopeless: Arc<AtomicBool>) -> Self {
        let invariants = super::invariants::all();
        let seen = Seen { invariants, violations: Vec::new(), leaders: BTreeSet::new(), sightings: 0 };
        let seen = Arc::new(Mutex::new(seen));
        let task = tokio::spawn(watch(directory, seen.clone(), hopeless));
        Self { seen, task }
    }

    /// Looks for the last time; the violations of the whole run.
    pub async fn finish(self, last: &[Status], recorded: &Recorded) -> Seen {
        self.task.abort();
        let _ = self.task.await;
        let mut seen = Arc::into_inner(self.seen)
            .expect("the task has ended")
            .into_inner()
            .expect("no panic while held");
        seen.check(|invariant| invariant.end(last, recorded));
        seen
    }
}

async fn watch(directory: Directory, seen: Arc<Mutex<Seen>>, hopeless: Arc<AtomicBool>) {
    let http = lockstep::client::plain_http().timeout(ANSWER_LIMIT).build().expect("a client");
    let mut round = 0_u32;
    loop {
        let mut looks = JoinSet::new();
        for node in directory.all() {
            looks.spawn(look(http.clone(), node, round.is_multiple_of(DIGESTS_EVERY)));
        }
        while let Some(looked) = looks.join_next().await {
            let Ok((name, status, digests)) = looked else { continue };
            let mut seen = seen.lock().expect("no panic while held");
            if let Some(status) = status {
                seen.sightings += 1;
                if status.role == "leader" {
                    seen.leaders.insert((status.term, status.node.id));
                }
                let sighting = Sighting { status };
                seen.check(|invariant| invariant.see(&sighting));
            }
            if let Some(digests) = digests {
                seen.check(|invariant| invariant.see_digests(&name, &digests.digests));
            }
            if !seen.violations.is_empty() {
                hopeless.store(true, Ordering::Release);
            }
        }
        round += 1;
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(
    http: reqwest::Client,
    node: Address,
    digests: bool,
) -> (String, Option<Status>, Option<Digests>) {
    let status = async { http.get(format!("{}/v1/status", node.direct)).send().await?.json().await };
    let status = status.await.ok();
    let wanted = async { http.get(format!("{}/v1/digest", node.direct)).send().await?.json().await };
    let digests = if digests { wanted.await.ok() } else { None };
    (node.name, status, digests)
}
