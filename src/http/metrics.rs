//! `/metrics`: numbers in Prometheus' text format. No label ever holds a key.

use super::admission;
use super::compat;
use super::door::Door;
use super::metrics_cache::write_cache;
use super::metrics_process::write_process;
use crate::api::{Warning, WarningCode};
use crate::node::Principal;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use futures::future::{Either, Ready};
use pin_project_lite::pin_project;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// Upper bounds of the latency buckets, in microseconds.
pub(super) const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

/// What was asked and how long it took, by route, method and status. Counting locks nothing that another request
/// could wait for, once a series is there.
#[derive(Default)]
pub(super) struct Requests(RwLock<Routes>);

type Routes = BTreeMap<String, BTreeMap<(&'static str, u16), Arc<Latency>>>;

#[derive(Default)]
struct Latency {
    sum_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS_US.len()],
    /// Longer than the last bucket's bound.
    longer: AtomicU64,
}

/// All requests so far, whatever their route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub requests: u64,
    /// Answered with a status of 500 and more.
    pub errors: u64,
    /// Reads and writes of keys.
    pub reads: u64,
    pub writes: u64,
    /// How long reads and writes of keys took: by bucket, and last those longer than all bounds.
    pub latencies: [u64; BUCKETS_US.len() + 1],
}

impl Latency {
    fn counts(&self) -> [u64; BUCKETS_US.len() + 1] {
        let mut counts = [0; BUCKETS_US.len() + 1];
        let all = self.buckets.iter().chain([&self.longer]);
        counts.iter_mut().zip(all).for_each(|(count, bucket)| *count = bucket.load(Relaxed));
        counts
    }
}

/// Whether a route is about keys and their values.
fn is_about_keys(route: &str) -> bool {
    ["/v1/kv", "/v1/keys", "/v1/batch", "/api/cache"].iter().any(|start| route.starts_with(start))
}

impl Requests {
    /// Adds up all series.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (route, series) in self.0.read().expect("no panic while held").iter() {
            for ((method, status), latency) in series {
                let counts = latency.counts();
                let requests: u64 = counts.iter().sum();
                totals.requests += requests;
                if *status >= 500 {
                    totals.errors += requests;
                }
                if !is_about_keys(route) {
                    continue;
                }
                match *method {
                    "GET" | "HEAD" => totals.reads += requests,
                    _ => totals.writes += requests,
                }
                totals.latencies.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        totals
    }

    fn note(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let known = {
            let routes = self.0.read().expect("no panic while held");
            routes.get(route).and_then(|series| series.get(&(method, status))).cloned()
        };
        let latency = known.unwrap_or_else(|| {
            let mut routes = self.0.write().expect("no panic while held");
            routes.entry(route.to_owned()).or_default().entry((method, status)).or_default().clone()
        });
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        latency.sum_us.fetch_add(took_us, Relaxed);
        let bucket = BUCKETS_US.iter().position(|&bound| took_us <= bound);
        bucket.map_or(&latency.longer, |bucket| &latency.buckets[bucket]).fetch_add(1, Relaxed);
    }
}

/// Counts and times every request of the service behind it, and lets through what keeps the rules for all.
#[derive(Clone)]
pub(super) struct Measured<S> {
    door: Door,
    service: S,
}

/// Puts a [`Measured`] around each route.
#[derive(Clone)]
pub(super) struct Measure(pub Door);

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, service: S) -> Measured<S> {
        Measured { door: self.0.clone(), service }
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Measured<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Timed<Either<Ready<Result<Response, S::Error>>, S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let method = known_method(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let door = self.door.clone();
        // Here, because each further layer would cost every request some allocations.
        let answering = match admission::check(&request, &door) {
            Ok(()) => Either::Right(self.service.call(request)),
            Err(error) => {
                let told = compat::in_its_words(request.uri().path(), &door, error);
                Either::Left(futures::future::ready(Ok(told)))
            }
        };
        Timed { answering, started, method, route, door }
    }
}

pin_project! {
    /// An answer in the making.
    pub(super) struct Timed<F> {
        #[pin]
        answering: F,
        started: Instant,
        method: &'static str,
        route: Option<MatchedPath>,
        door: Door,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Timed<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.answering.poll(context));
        if let Ok(response) = &result {
            let (took, status) = (this.started.elapsed(), response.status().as_u16());
            let route = this.route.as_ref().map_or("unmatched", MatchedPath::as_str);
            this.door.requests.note(route, this.method, status, took);
            tracing::debug!(method = this.method, route, status, ?took, "request");
        }
        Poll::Ready(result)
    }
}

/// Clients may invent methods; each would be a series of its own.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER")
}

/// `GET /metrics`.
pub(super) async fn metrics(State(door): State<Door>) -> Response {
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write_process(&mut out);
    let _ = write_requests(&mut out, &door.requests);
    if let Some(session) = door.session(Principal::Anyone) {
        let admin = session.admin();
        let status = admin.status().await;
        let flushes = admin.flushes();
        let differs = u64::from(status.differs_at.is_some());
        // One that nobody follows does not know better by itself.
        let leads = u64::from(status.role == "leader" && status.majority);
        let majority = u64::from(status.majority);
        let gauges = [
            ("lockstep_watchers", "Clients that watch this node.", door.watchers.now()),
            ("lockstep_is_leader", "Whether this node leads a majority.", leads),
            ("lockstep_majority", "Whether a majority of the voters answers this node.", majority),
            ("lockstep_raft_term", "Raft term.", status.term),
            ("lockstep_raft_last_log_index", "Index of the last log entry.", status.last_log_index),
            ("lockstep_raft_committed_index", "Index of the last committed entry.", status.committed_index),
            ("lockstep_raft_applied_index", "Index of the last applied entry.", status.applied_index),
            ("lockstep_raft_snapshot_index", "Index the last snapshot covers.", status.snapshot_index),
            ("lockstep_log_bytes", "Bytes of the entries in the log, about.", admin.log_bytes()),
            ("lockstep_raft_members", "Members of the cluster.", status.members.len() as u64),
            ("lockstep_differs", "Whether this node's state differs from the others'.", differs),
            ("lockstep_entries", "Entries in the cache.", status.entries),
            ("lockstep_bytes", "Bytes the entries count.", status.bytes),
            ("lockstep_capacity_entries", "Most entries.", status.config.capacity_entries),
            ("lockstep_capacity_bytes", "Most bytes.", status.config.capacity_bytes),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let _ = write_warnings(&mut out, &status.warnings);
        let _ = write_cache(&mut out, &status.cache);
        let _ = writeln!(
            out,
            "# HELP lockstep_watchers_cut_total Watchers that were sent away: too slow, or the node was stopping.\n\
             # TYPE lockstep_watchers_cut_total counter\nlockstep_watchers_cut_total {}",
            door.watchers.cut()
        );
        if let Some(ahead_ms) = status.log_time_ahead_ms {
            let name = "lockstep_log_time_ahead_seconds";
            let help = "How far log time is ahead of this node's wall clock.";
            let value = ahead_ms as f64 / 1_000.0;
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let seconds = flushes.total.as_secs_f64();
        let _ = writeln!(
            out,
            "# HELP lockstep_log_flush_seconds Time spent flushing the log to disk.\n\
             # TYPE lockstep_log_flush_seconds summary\n\
             lockstep_log_flush_seconds_sum {seconds}\nlockstep_log_flush_seconds_count {}",
            flushes.count
        );
        let (version, name) = (&status.version, &status.node.name);
        let _ = writeln!(
            out,
            "# HELP lockstep_build_info Version and node.\n# TYPE lockstep_build_info gauge\n\
             lockstep_build_info{{version=\"{version}\",node=\"{}\"}} 1",
            escape(name)
        );
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}

fn write_warnings(out: &mut String, warnings: &[Warning]) -> std::fmt::Result {
    let name = "lockstep_warnings";
    writeln!(out, "# HELP {name} What an operator should look at, by kind.\n# TYPE {name} gauge")?;
    for code in WarningCode::ALL {
        let count = warnings.iter().filter(|warning| warning.code == code).count();
        writeln!(out, "{name}{{code=\"{}\"}} {count}", code.name())?;
    }
    Ok(())
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn write_requests(out: &mut String, requests: &Requests) -> std::fmt::Result {
    let name = "lockstep_http_request_duration_seconds";
    writeln!(out, "# HELP {name} HTTP requests by route, method and status.\n# TYPE {name} histogram")?;
    for (route, series) in requests.0.read().expect("no panic while held").iter() {
        for ((method, status), latency) in series {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let mut below = 0;
            for (bound, count) in BUCKETS_US.iter().zip(&latency.buckets) {
                below += count.load(Relaxed);
                writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {below}", *bound as f64 / 1e6)?;
            }
            let all = below + latency.longer.load(Relaxed);
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", latency.sum_us.load(Relaxed) as f64 / 1e6)?;
            writeln!(out, "{name}_count{{{labels}}} {all}")?;
        }
    }
    Ok(())
}
