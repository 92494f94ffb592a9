//! The table as text.

use super::results::{Figure, Line, Spread, value};
use super::rows::Metric;
use serde_json::Value;
use std::fmt::Write;

/// The whole table: where it was measured, the lines, and the remarks they refer to.
pub fn table(about: &Value, lines: &[Line]) -> String {
    let mut text = head(about);
    let mut remarks: Vec<String> = Vec::new();
    let _ = writeln!(
        text,
        "\n{:<32} {:>13}      {:<18} {:>13}      {:>12}  min to max",
        "", "ours", "rival", "", "ours / rival"
    );
    for line in lines {
        let title = match line.metric {
            Metric::PerSecond => line.title.to_owned(),
            metric => format!("{}: {}", line.title, metric.name()),
        };
        let ours = shown(&line.ours, line.metric, &mut remarks);
        if line.rivals.is_empty() {
            let _ = writeln!(text, "{title:<32} {}", ours.trim_end());
        }
        for (number, rival) in line.rivals.iter().enumerate() {
            let (title, ours) = if number == 0 { (title.as_str(), ours.as_str()) } else { ("", "") };
            let theirs = shown(rival, line.metric, &mut remarks);
            let (ratio, range) = rival.ratio.map_or_else(Default::default, |Spread { min, median, max }| {
                (format!("{median:.2}"), format!("{min:.2} to {max:.2}"))
            });
            let system = rival.contender.label();
            let row = format!("{title:<32} {ours:<18} {system:<18} {theirs:<18} {ratio:>12}  {range}");
            let _ = writeln!(text, "{}", row.trim_end());
        }
    }
    text.push_str(
        "\nMedians of the rounds; ratios are taken within a round. Of latencies and memory, less is better.\n",
    );
    for (number, remark) in remarks.iter().enumerate() {
        let _ = writeln!(text, "[{}] {remark}", number + 1);
    }
    text
}

fn head(about: &Value) -> String {
    let mut text = String::new();
    let (machine, versions) = (&about["machine"], &about["versions"]);
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let _ = writeln!(
        text,
        "{}, {} cores, {}, Linux {}; {} on {}, a flush takes {} us (p99 {} us)",
        word(&machine["processor"]),
        machine["cores"],
        word(&machine["system"]),
        word(&machine["kernel"]),
        word(&machine["disk"]["file_system"]),
        word(&machine["disk"]["device"]),
        machine["disk"]["flush_p50_us"],
        machine["disk"]["flush_p99_us"],
    );
    let named = ["lockstep", "commit", "etcd", "redis", "hiqlite", "openraft"].iter().filter_map(|name| {
        let version = versions[*name].as_str()?;
        // Most programs say their own name.
        let says_it = version.to_lowercase().contains(name);
        Some(if says_it { version.to_owned() } else { format!("{name} {version}") })
    });
    let _ = writeln!(text, "{}", named.collect::<Vec<_>>().join("; "));
    let _ = writeln!(
        text,
        "{} rounds of {} s after {} s of warm-up; load before: {}",
        about["rounds"], about["seconds"], about["warm_up"], machine["load_before"]
    );
    text
}

/// A figure, right-aligned, with the number of what is remarked about it behind.
fn shown(figure: &Figure, metric: Metric, remarks: &mut Vec<String>) -> String {
    let mut said: Vec<String> = figure.notes.clone();
    if !figure.contender.remark.is_empty() && figure.value.is_some() {
        said.insert(0, figure.contender.remark.to_owned());
    }
    let value = figure.value.map_or_else(|| "-".to_owned(), |spread| amount(spread.median, metric));
    let mut shown = format!("{value:>13}");
    if !said.is_empty() {
        let remark = said.join("; ");
        let at = remarks.iter().position(|other| *other == remark).unwrap_or_else(|| {
            remarks.push(remark);
            remarks.len() - 1
        });
        let _ = write!(shown, " [{}]", at + 1);
    }
    shown
}

/// A rate or a time, as people read it.
pub fn amount(figure: f64, metric: Metric) -> String {
    match metric {
        Metric::PerSecond => format!("{}/s", grouped(figure)),
        Metric::P50 | Metric::P99 if figure < 1_000.0 => format!("{figure:.0} us"),
        Metric::P50 | Metric::P99 => format!("{:.2} ms", figure / 1_000.0),
        Metric::RoundTrips => format!("{figure:.2}"),
        Metric::Memory | Metric::MemoryPeak => format!("{} MB", grouped(figure)),
    }
}

/// Digits in threes.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What one measurement brought, in a few words.
pub fn in_words(report: &Value) -> String {
    if let Some(megabytes) = value(report, Metric::Memory) {
        return amount(megabytes, Metric::Memory);
    }
    let part = |metric| value(report, metric).map_or_else(|| "?".into(), |figure| amount(figure, metric));
    let mut text =
        format!("{}, p50 {}, p99 {}", part(Metric::PerSecond), part(Metric::P50), part(Metric::P99));
    let errors = report["errors"].as_u64().unwrap_or(0);
    if errors > 0 {
        let _ = write!(text, ", {errors} failed: {}", report["errors_by_code"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::{Results, Sample};
    use super::super::rows::chosen;
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(amount(1_234_567.4, Metric::PerSecond), "1,234,567/s");
        assert_eq!(amount(12.0, Metric::PerSecond), "12/s");
        assert_eq!(amount(950.4, Metric::P50), "950 us");
        assert_eq!(amount(12_345.0, Metric::P99), "12.35 ms");
    }

    #[test]
    fn every_line_is_there_and_remarks_are_told_once() {
        let rows = chosen(&[], true);
        let mut results = Results::default();
        for contender in rows.iter().flat_map(|row| row.contenders()) {
            let (setup, work) = (contender.setup, contender.work);
            let report = json!({ "requests_per_s": 1_000.0, "latency_us": { "p50": 10, "p99": 20 } });
            results.add(Sample { round: 1, setup, work, report: Ok(report) });
        }
        let lines = results.lines(&rows);
        let text = table(&json!({}), &lines);
        let rivals: usize = lines.iter().map(|line| line.rivals.len()).sum();
        assert_eq!(text.matches("1.00 to 1.00").count(), rivals, "{text}");
        assert_eq!(text.matches("what HTTP alone costs").count(), 1, "{text}");
        assert_eq!(text.matches("PUT, 1 connection, leader: p").count(), 2, "{text}");
    }
}
