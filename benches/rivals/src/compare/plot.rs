//! The table as a picture: a panel a line, a bar a contender.

use super::results::{Figure, Line};
use super::rows::Metric;
use super::table::amount;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, and the longest one's length; the figure stands behind it.
const BARS_AT: f64 = 190.0;
const BARS_LONG: f64 = 520.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;
const PANEL_HEAD: f64 = 30.0;
const PANEL_GAP: f64 = 14.0;
const OURS: &str = "#1f6f8b";
const RIVAL: &str = "#b5651d";
/// For those whose figure cannot be compared as it stands.
const REMARKED: &str = "#b9b4aa";
const INK: &str = "#222222";

/// A picture that any browser shows.
pub fn plot(lines: &[Line]) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 40.0;
    for line in lines {
        y = panel(&mut body, line, y) + PANEL_GAP;
    }
    let height = y + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut x = MARGIN;
    for (color, meaning) in [
        (OURS, "Lockstep"),
        (RIVAL, "a rival, same promises asked for"),
        (REMARKED, "promises more or less: see the table's remarks"),
    ] {
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{MARGIN}\" width=\"14\" height=\"14\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"{}\">{meaning}</text>",
            x + 20.0,
            MARGIN + 12.0
        );
        x += 40.0 + 7.2 * f64::from(u32::try_from(meaning.len()).unwrap_or(0));
    }
    text.push_str(&body);
    text.push_str("</svg>\n");
    text
}

/// Draws a line's panel and returns where it ends.
fn panel(body: &mut String, line: &Line, top: f64) -> f64 {
    let better = match line.metric {
        Metric::PerSecond => "per second".to_owned(),
        metric => format!("{}, shorter is better", metric.name()),
    };
    let _ = writeln!(
        body,
        "<text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\">{} <tspan font-weight=\"normal\">({better})</tspan></text>",
        top + 16.0,
        escaped(line.title),
    );
    let figures: Vec<&Figure> = std::iter::once(&line.ours).chain(&line.rivals).collect();
    let longest = figures.iter().filter_map(|figure| Some(figure.value?.max)).fold(0.0, f64::max);
    let mut y = top + PANEL_HEAD;
    for (number, figure) in figures.into_iter().enumerate() {
        let color = match (number, figure.contender.remark) {
            (0, _) => OURS,
            (_, "") => RIVAL,
            _ => REMARKED,
        };
        bar(body, figure, line.metric, longest, color, y);
        y += STEP;
    }
    y
}

fn bar(body: &mut String, figure: &Figure, metric: Metric, longest: f64, color: &str, y: f64) {
    let middle = y + BAR / 2.0;
    let _ = writeln!(
        body,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}<title>{}</title></text>",
        BARS_AT - 8.0,
        middle + 4.5,
        escaped(&figure.contender.label()),
        escaped(figure.contender.remark),
    );
    let Some(value) = figure.value else {
        let reason = figure.notes.join("; ");
        let _ = writeln!(
            body,
            "<text x=\"{BARS_AT}\" y=\"{}\" font-style=\"italic\">{}</text>",
            middle + 4.5,
            escaped(&reason)
        );
        return;
    };
    let long = |amount: f64| BARS_LONG * amount / longest.max(f64::MIN_POSITIVE);
    let (low, high) = (BARS_AT + long(value.min), BARS_AT + long(value.max));
    let _ = writeln!(
        body,
        "<rect x=\"{BARS_AT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
         <path d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {}v8M{high:.1} {}v8\" stroke=\"{INK}\" fill=\"none\"/>\
         <text x=\"{:.1}\" y=\"{}\">{}</text>",
        long(value.median),
        middle - 4.0,
        middle - 4.0,
        high + 8.0,
        middle + 4.5,
        amount(value.median, metric),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::results::{Results, Sample};
    use super::super::rows::{System, chosen};
    use super::*;
    use serde_json::json;

    #[test]
    fn every_contender_has_a_bar_or_a_reason() {
        let rows = chosen(&["put-64".into(), "put-latency".into()], false);
        let mut results = Results::default();
        for contender in rows.iter().flat_map(|row| row.contenders()) {
            let (setup, work) = (contender.setup, contender.work);
            let report = json!({ "requests_per_s": 1_000.0, "latency_us": { "p50": 10, "p99": 20 } });
            if setup.system != System::Etcd {
                results.add(Sample { round: 1, setup, work, report: Ok(report) });
            }
        }
        results.skip(System::Etcd, "etcd <is> not here".into());
        let picture = plot(&results.lines(&rows));
        assert_eq!(picture.matches("<path").count(), 4, "{picture}");
        assert_eq!(picture.matches("etcd &lt;is&gt; not here").count(), 3, "{picture}");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}
