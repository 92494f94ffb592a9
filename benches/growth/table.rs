//! The table: each row's medians, and how they compare with the first row's of the same round.

use crate::measure::Sample;
use crate::rows::{BASE, ROWS, Row};
use serde_json::{Value, json};

/// A row measured in one round.
pub struct Measured {
    pub round: u32,
    pub row: &'static Row,
    pub sample: Result<Sample, String>,
}

/// Below that many bytes of values, what else changes in a node's memory is more than what its entries take.
const BYTES_MIN: u64 = 10_000_000;

const HEAD: &str = "
                                GET                                     PUT                        bytes   written
row             requests/s  ratio       p50       p99  requests/s  ratio       p50       p99   longest  an entry    a byte";

pub fn print(all: &[Measured]) {
    println!("{HEAD}");
    for row in &ROWS {
        let of_row: Vec<(u32, &Sample)> = samples(all, row.name).collect();
        if of_row.is_empty() {
            continue;
        }
        let mut line = format!("{:<14}", row.name);
        for part in [get, put] {
            let figure = |path: &[&str]| {
                median(of_row.iter().filter_map(|(_, sample)| number(part(sample)?, path)).collect())
            };
            let ratios = of_row.iter().filter_map(|(round, sample)| {
                let (_, base) = samples(all, BASE.name).find(|(other, _)| other == round)?;
                Some(number(part(sample)?, &["requests_per_s"])? / number(part(base)?, &["requests_per_s"])?)
            });
            line += &cell(12, figure(&["requests_per_s"]), |rate| format!("{rate:.0}"));
            line += &cell(7, median(ratios.collect()), |ratio| format!("{ratio:.2}"));
            line += &cell(10, figure(&["latency_us", "p50"]), ms);
            line += &cell(10, figure(&["latency_us", "p99"]), ms);
        }
        let longest = of_row.iter().filter_map(|(_, sample)| number(&sample.put, &["latency_us", "max"]));
        line += &cell(10, longest.reduce(f64::max), ms);
        let tells = row.entries * u64::from(row.value_bytes) >= BYTES_MIN;
        let bytes = of_row.iter().flat_map(|(_, sample)| sample.bytes_per_entry.iter().copied());
        line += &cell(10, median(bytes.collect()).filter(|_| tells), |bytes| format!("{bytes:.0}"));
        let written = of_row.iter().filter_map(|(_, sample)| sample.bytes_written);
        line += &cell(10, median(written.collect()), |bytes| format!("{bytes:.2}"));
        println!("{line}");
    }
    for remark in all.iter().flat_map(remarks) {
        println!("{remark}");
    }
}

/// Every single figure.
pub fn json(all: &[Measured]) -> Value {
    let one = |Measured { round, row, sample }: &Measured| {
        let mut object = json!({
            "round": round, "row": row.name, "nodes": row.nodes, "entries": row.entries,
            "value_bytes": row.value_bytes, "settings": row.settings, "idle": row.idle,
        });
        match sample {
            Ok(Sample { get, put, bytes_per_entry, bytes_written, snapshots_moved }) => {
                object["get"] = json!(get);
                object["put"] = put.clone();
                object["bytes_per_entry"] = json!(bytes_per_entry);
                object["bytes_written"] = json!(bytes_written);
                object["snapshots_moved"] = json!(snapshots_moved);
            }
            Err(error) => object["error"] = json!(error),
        }
        object
    };
    all.iter().map(one).collect()
}

/// What must be known to read a row.
fn remarks(measured: &Measured) -> Vec<String> {
    let about = |what: String| format!("{}, round {}: {what}", measured.row.name, measured.round);
    let sample = match &measured.sample {
        Ok(sample) => sample,
        Err(error) => return vec![about(format!("not measured: {error}"))],
    };
    let mut remarks = Vec::new();
    for (work, report) in [("GET", get(sample)), ("PUT", put(sample))] {
        let Some(report) = report else { continue };
        for what in ["errors", "misses"] {
            if report[what] != 0 {
                remarks
                    .push(about(format!("{} {what} of {work}, {}", report[what], report["errors_by_code"])));
            }
        }
    }
    let for_snapshots = measured.row.settings.contains(&"--snapshot-entries");
    if for_snapshots && sample.snapshots_moved.contains(&0) {
        remarks.push(about("a node took no snapshot; give more --seconds".into()));
    }
    remarks
}

fn samples<'a>(all: &'a [Measured], row: &'a str) -> impl Iterator<Item = (u32, &'a Sample)> {
    let of_row = all.iter().filter(move |measured| measured.row.name == row);
    of_row.filter_map(|measured| Some((measured.round, measured.sample.as_ref().ok()?)))
}

fn get(sample: &Sample) -> Option<&Value> {
    sample.get.as_ref()
}

fn put(sample: &Sample) -> Option<&Value> {
    Some(&sample.put)
}

fn number(report: &Value, path: &[&str]) -> Option<f64> {
    path.iter().fold(report, |value, name| &value[name]).as_f64()
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        length if length % 2 == 1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

/// A figure in words, or a stroke for none, so many characters wide.
fn cell(width: usize, figure: Option<f64>, in_words: impl Fn(f64) -> String) -> String {
    format!("{:>width$}", figure.map_or("-".into(), in_words))
}

fn ms(us: f64) -> String {
    match us / 1_000.0 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}
