//! What was measured, and what it says: medians, and ratios within a round.

use super::rows::{Comparison, Contender, Metric, Setup, System, Work};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One measurement.
#[derive(Debug, Clone)]
pub struct Sample {
    pub round: u32,
    pub setup: Setup,
    pub work: Work,
    /// The load generator's report, or why there is none.
    pub report: Result<Value, String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Results {
    samples: Vec<Sample>,
    skipped: BTreeMap<System, String>,
}

/// The middle of several figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (&min, &max) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => f64::midpoint(figures[middle - 1], figures[middle]),
            _ => figures[middle],
        };
        Some(Self { min, median, max })
    }

    fn json(self) -> Value {
        let short =
            |figure: f64| if figure < 100.0 { (figure * 1_000.0).round() / 1_000.0 } else { figure.round() };
        json!({ "min": short(self.min), "median": short(self.median), "max": short(self.max) })
    }
}

/// Somebody's figure in a line of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    pub contender: Contender,
    pub value: Option<Spread>,
    /// Ours by this one, round by round; `None` for ours.
    pub ratio: Option<Spread>,
    /// Why there is no figure, or what to know about it.
    pub notes: Vec<String>,
}

/// A line of the table: a row's metric.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: &'static str,
    pub title: &'static str,
    pub metric: Metric,
    pub ours: Figure,
    pub rivals: Vec<Figure>,
}

impl Results {
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub fn skip(&mut self, system: System, reason: String) {
        self.skipped.insert(system, reason);
    }

    pub fn nothing_failed(&self) -> bool {
        self.samples.iter().all(|sample| sample.report.is_ok())
    }

    fn of(&self, contender: Contender) -> impl Iterator<Item = &Sample> {
        let wanted = move |sample: &&Sample| sample.setup == contender.setup && sample.work == contender.work;
        self.samples.iter().filter(wanted)
    }

    /// A contender's figure in each round that has one.
    fn by_round(&self, contender: Contender, metric: Metric) -> BTreeMap<u32, f64> {
        let figures = self.of(contender);
        figures.filter_map(|sample| Some((sample.round, sample.value(metric)?))).collect()
    }

    fn notes(&self, contender: Contender) -> Vec<String> {
        if let Some(reason) = self.skipped.get(&contender.setup.system) {
            return vec![format!("not measured: {reason}")];
        }
        let mut notes = Vec::new();
        let (mut errors, mut lost_lead) = (0, false);
        let mut failed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for sample in self.of(contender) {
            match &sample.report {
                Err(reason) => failed.entry(reason).or_default().push(sample.round.to_string()),
                Ok(report) => {
                    errors += report["errors"].as_u64().unwrap_or(0);
                    lost_lead |= report["led_throughout"] == false;
                }
            }
        }
        for (reason, rounds) in failed {
            notes.push(format!("round {}: {reason}", rounds.join(", ")));
        }
        if errors > 0 {
            notes.push(format!("{errors} requests failed"));
        }
        if lost_lead {
            notes.push("the leader changed in between".into());
        }
        notes
    }

    pub fn lines(&self, rows: &[Comparison]) -> Vec<Line> {
        let line = |Comparison { row, rivals }: &Comparison, metric: Metric| {
            let ours = self.by_round(row.ours, metric);
            let figure = |contender: Contender, is_rival: bool| {
                let theirs = self.by_round(contender, metric);
                let ratios =
                    ours.iter().filter_map(|(round, ours)| Some(ours / theirs.get(round)?)).collect();
                Figure {
                    contender,
                    value: Spread::of(theirs.values().copied().collect()),
                    ratio: if is_rival { Spread::of(ratios) } else { None },
                    notes: self.notes(contender),
                }
            };
            Line {
                name: row.name,
                title: row.title,
                metric,
                ours: figure(row.ours, false),
                rivals: rivals.iter().map(|&rival| figure(rival, true)).collect(),
            }
        };
        rows.iter()
            .flat_map(|each| each.row.metrics.iter().map(move |&metric| (each, metric)))
            .map(|(each, metric)| line(each, metric))
            .collect()
    }

    /// Everything: where, what came out, and every report as it was.
    pub fn json(&self, about: Value, lines: &[Line]) -> Value {
        let figure = |figure: &Figure| {
            json!({
                "system": figure.contender.setup.to_string(),
                "work": figure.contender.work.to_string(),
                "remark": figure.contender.remark,
                "value": figure.value.map(Spread::json),
                "ours_by_this": figure.ratio.map(Spread::json),
                "notes": figure.notes,
            })
        };
        let line = |line: &Line| {
            json!({
                "row": line.name, "title": line.title, "metric": line.metric.name(),
                "ours": figure(&line.ours),
                "rivals": line.rivals.iter().map(figure).collect::<Vec<_>>(),
            })
        };
        let sample = |sample: &Sample| {
            json!({
                "round": sample.round, "system": sample.setup.to_string(), "work": sample.work.to_string(),
                "report": sample.report.as_ref().ok(), "failed": sample.report.as_ref().err(),
            })
        };
        let mut all = about;
        all["rows"] = lines.iter().map(line).collect();
        all["samples"] = self.samples.iter().map(sample).collect();
        all
    }
}

impl Sample {
    fn value(&self, metric: Metric) -> Option<f64> {
        let report = self.report.as_ref().ok()?;
        match metric {
            Metric::RoundTrips => {
                Some(value(report, Metric::P50)? / f64::from(self.setup.link.round_trip_us))
            }
            other => value(report, other),
        }
    }
}

/// What a report says of a metric: operations or requests a second, microseconds, or megabytes.
pub fn value(report: &Value, metric: Metric) -> Option<f64> {
    match metric {
        Metric::PerSecond => {
            report["operations_per_s"].as_f64().or_else(|| report["requests_per_s"].as_f64())
        }
        Metric::P50 => report["latency_us"]["p50"].as_f64(),
        Metric::P99 => report["latency_us"]["p99"].as_f64(),
        Metric::Memory => report["resident_mb"].as_f64(),
        Metric::MemoryPeak => report["resident_peak_mb"].as_f64(),
        // The report does not know what lies between the members.
        Metric::RoundTrips => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::chosen;
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let spread = |figures: &[f64]| Spread::of(figures.to_vec());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(spread(&[1.0, 2.0]).map(|spread| spread.median), Some(1.5));
    }

    /// Two rounds of the first row, of which the rival's second failed.
    fn results() -> Results {
        let row = &chosen(&[], false)[0];
        let mut results = Results::default();
        let mut add = |round, contender: Contender, report: Result<f64, &str>| {
            let report =
                report.map(|rate| json!({ "requests_per_s": rate, "errors": 1 })).map_err(str::to_owned);
            let Contender { setup, work, .. } = contender;
            results.add(Sample { round, setup, work, report });
        };
        add(1, row.row.ours, Ok(300.0));
        add(1, row.rivals[0], Ok(100.0));
        add(2, row.row.ours, Ok(500.0));
        add(2, row.rivals[0], Err("it fell over"));
        results.skip(row.rivals[1].setup.system, "it is not here".into());
        results
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let results = results();
        let lines = results.lines(&chosen(&[], false)[..1]);
        let [line] = lines.as_slice() else { panic!("one metric, one line") };
        assert_eq!(line.ours.value.map(|spread| spread.median), Some(400.0));
        assert_eq!(line.ours.notes, ["2 requests failed"]);
        assert_eq!(line.rivals[0].ratio.map(|ratio| ratio.max), Some(3.0));
        assert_eq!(line.rivals[0].notes, ["round 2: it fell over", "1 requests failed"]);
        assert_eq!(line.rivals[1].value, None);
        assert_eq!(line.rivals[1].notes, ["not measured: it is not here"]);
        assert!(!results.nothing_failed());
        let json = results.json(json!({ "rounds": 2 }), &lines);
        assert_eq!(json["rows"][0]["rivals"][0]["ours_by_this"]["median"], 3.0);
        assert_eq!(json["samples"].as_array().map(Vec::len), Some(4));
    }
}
