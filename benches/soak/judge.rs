//! Whether samples grow: from the time when what is filled once is full, to the end.

use crate::rows::{Fault, Row};
use crate::support::gauges::Gauges;

/// What may come to a gauge from the first part to the end. Caches and allocators fill up and stay so.
const RSS_MAX: f64 = 60.0 * MB;
const DISK_MAX: f64 = 150.0 * MB;
const FDS_MAX: f64 = 16.0;
const TASKS_MAX: f64 = 16.0;
const MB: f64 = 1_000_000.0;

/// A long run is judged from here on: between so many writes and so many.
const FIRST: std::ops::Range<f64> = 100_000.0..200_000.0;

pub const HEAD: &str = "
row             node   writes   writes/s          RSS MB             disk MB            fds          tasks      log MB   verdict
                                        from-to    /M   max       from-to  /M      from-to /M     from-to /M   from-to";

/// One gauge over a run.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Its median in the first part: from 100,000 writes to 200,000, or in the second quarter where that comes before.
    pub from: f64,
    /// Its median in the last quarter.
    pub to: f64,
    /// Growth for each million writes, by least squares over all from the first part on.
    pub slope: f64,
    /// The highest of the whole run.
    pub max: f64,
}

/// A node's run.
#[derive(Debug)]
pub struct Verdict {
    pub writes: f64,
    pub seconds: usize,
    pub rss: Course,
    pub disk: Course,
    pub fds: Course,
    pub tasks: Course,
    pub log: Course,
    /// What grew beyond its limit.
    pub grew: Vec<&'static str>,
}

impl Verdict {
    pub fn is_too_much(&self) -> bool {
        !self.grew.is_empty()
    }
}

/// Judges a row's samples, which were taken once a second.
pub fn judge(row: &Row, samples: &[Gauges]) -> Verdict {
    let course = |of: fn(&Gauges) -> f64| course(samples, of);
    let (rss, disk) = (course(|gauges| gauges.rss), course(|gauges| gauges.disk));
    let (fds, tasks) = (course(|gauges| gauges.fds), course(|gauges| gauges.tasks));
    let limits =
        [("RSS", rss, RSS_MAX), ("disk", disk, DISK_MAX), ("fds", fds, FDS_MAX), ("tasks", tasks, TASKS_MAX)];
    let mut grew: Vec<&str> = limits
        .into_iter()
        .filter(|(_, course, max)| course.to - course.from > *max)
        .map(|(name, ..)| name)
        .collect();
    if row.rss_max_mb.is_some_and(|max| rss.max > f64::from(max) * MB) {
        grew.push("RSS beyond its bound");
    }
    // Only a fault may make another node the leader.
    if row.fault == Fault::None && samples.windows(2).any(|pair| pair[0].term != pair[1].term) {
        grew.push("term");
    }
    Verdict {
        writes: samples.last().map_or(0.0, |last| last.applied)
            - samples.first().map_or(0.0, |first| first.applied),
        seconds: samples.len(),
        rss,
        disk,
        fds,
        tasks,
        log: course(|gauges| gauges.log),
        grew,
    }
}

fn course(samples: &[Gauges], of: fn(&Gauges) -> f64) -> Course {
    let quarter = samples.len() / 4;
    let at = |writes: f64| samples.partition_point(|sample| sample.applied < writes);
    let first =
        if at(FIRST.end) <= quarter * 2 { at(FIRST.start)..at(FIRST.end) } else { quarter..quarter * 2 };
    let median = |part: &[Gauges]| median(part.iter().map(of).collect());
    let points: Vec<(f64, f64)> =
        samples[first.start..].iter().map(|sample| (sample.applied / 1e6, of(sample))).collect();
    Course {
        from: median(&samples[first]),
        to: median(&samples[samples.len() - quarter.max(1)..]),
        slope: slope(&points),
        max: samples.iter().map(of).fold(0.0, f64::max),
    }
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), point| {
        (over + (point.0 - x) * (point.1 - y), under + (point.0 - x) * (point.0 - x))
    });
    if under > 0.0 { over / under } else { 0.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

pub fn line(row: &str, node: usize, verdict: &Verdict) -> String {
    let Verdict { writes, seconds, rss, disk, fds, tasks, log, grew } = verdict;
    let mb = |course: &Course| {
        format!("{:>5.0}-{:<5.0}{:>+4.0}", course.from / MB, course.to / MB, course.slope / MB)
    };
    let count = |course: &Course| format!("{:>5.0}-{:<4.0}{:>+4.0}", course.from, course.to, course.slope);
    let verdict = if grew.is_empty() { "flat".to_owned() } else { format!("grows: {}", grew.join(", ")) };
    format!(
        "{row:<15} n{node} {writes:>9.0} {:>9.0}   {} {:>5.0}  {}  {} {} {:>5.0}-{:<5.0}  {verdict}",
        writes / (*seconds).max(1) as f64,
        mb(rss),
        rss.max / MB,
        mb(disk),
        count(fds),
        count(tasks),
        log.from / MB,
        log.to / MB,
    )
}
