//! Which bars an attack has broken, and its line of the table.

use crate::attack::{Attack, LOG_BYTES_FREE};
use crate::run::{Course, Look};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Probes of each node are answered within this, 99 of 100.
const PROBE_P99_MAX: Duration = Duration::from_millis(50);
const MB: f64 = 1_000_000.0;

pub const HEAD: &str = "
                    tried   probes of the attacked, ms   others   not    client, ms           RSS, MB           disk     log   fds    term   verdict
attack                   /s      p50     p99      max       p99  answ.    p99  errors   before peak after       MB      kB  peak";

/// What is beyond its bar.
pub fn broken(attack: &Attack, duration: Duration, course: &Course) -> Vec<&'static str> {
    let is_slow =
        |probes: &Histogram<u64>| u128::from(probes.value_at_quantile(0.99)) > PROBE_P99_MAX.as_micros();
    let Course { before, after, terms, observed, .. } = course;
    let log_max = LOG_BYTES_FREE + attack.log_max * duration.as_secs();
    let bars = [
        ("probes", is_slow(&observed.attacked) || is_slow(&observed.others)),
        ("term", terms.0 != terms.1),
        ("RSS", peak(course, |look| look.rss) > before.rss + attack.rss_max),
        ("log", after.log > before.log + log_max),
    ];
    bars.into_iter().filter(|(_, is_broken)| *is_broken).map(|(name, _)| name).collect()
}

fn peak(course: &Course, of: fn(&Look) -> u64) -> u64 {
    course.looks.iter().chain([&course.after]).map(of).max().unwrap_or(0)
}

pub fn line(attack: &Attack, course: &Course, broken: &[&str]) -> String {
    let Course { before, looks, after, terms, observed, tried } = course;
    let seconds = looks.len().max(4) as f64 / 4.0;
    let ms = |us: u64| us as f64 / 1_000.0;
    let at = |latencies: &Histogram<u64>, quantile| ms(latencies.value_at_quantile(quantile));
    let verdict =
        if broken.is_empty() { "holds".to_owned() } else { format!("broken: {}", broken.join(", ")) };
    format!(
        "{:<17} {:>8.0} {:>8.1} {:>7.1} {:>8.1} {:>9.1} {:>6} {:>6.1} {:>7}   {:>6.0} {:>4.0} {:>5.0} {:>8.1} {:>7.1} {:>5} {:>3}-{:<3}  {verdict}",
        attack.name,
        *tried as f64 / seconds,
        at(&observed.attacked, 0.5),
        at(&observed.attacked, 0.99),
        ms(observed.attacked.max()),
        at(&observed.others, 0.99),
        observed.unanswered,
        at(&observed.client, 0.99),
        observed.client_errors,
        before.rss as f64 / MB,
        peak(course, |look| look.rss) as f64 / MB,
        after.rss as f64 / MB,
        (after.disk as f64 - before.disk as f64) / MB,
        (after.log as f64 - before.log as f64) / 1_000.0,
        peak(course, |look| look.fds),
        terms.0,
        terms.1,
    )
}
