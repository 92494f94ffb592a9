//! A report as a page to look at: for each key that failed, who did what when, and which answer fits nowhere.
//!
//! The page stands alone. Time runs by events, not by the clock: the next call or return is always one place
//! to the right, so that nothing is too short to be seen.

use super::{Failure, Operation, Outcome, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Pixels from one event to the next, of a row, left of the rows, and right of the last event.
const EVENT_PX: usize = 36;
const ROW_PX: usize = 40;
const NAMES_PX: usize = 92;
const END_PX: usize = 360;

// Reading from the right, `.lines` shows its end first: that is where the trouble is.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--text:#1a1a1a;--faint:#666;--rule:#ddd;--ok:#cfe4f5;--edge:#0072b2;\
--fail:#e4e4e4;--unknown:#f3e2b3;--stuck:#d55e00}\
@media(prefers-color-scheme:dark){:root{--page:#15181c;--text:#ececec;--faint:#a0a0a0;--rule:#333;--ok:#173b52;\
--edge:#56b4e9;--fail:#3a3a3a;--unknown:#574617;--stuck:#ff9a4d}}\
body{background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:none}\
section{margin-top:2.5rem}p{max-width:48rem}.lines{overflow-x:auto;direction:rtl;border:1px solid var(--rule);border-radius:6px}\
svg{direction:ltr}svg text{fill:var(--text);font:12px ui-monospace,monospace}svg .faint{fill:var(--faint)}\
.row{stroke:var(--rule)}.bar{stroke:var(--edge);fill:var(--ok)}.fail .bar{fill:var(--fail);stroke:var(--faint)}\
.unknown .bar{fill:url(#fade);stroke:none}.stuck .bar{stroke:var(--stuck);stroke-width:3;stroke-dasharray:5 3}\
svg .aside{fill:var(--stuck);font-weight:bold}.number{fill:var(--edge)}svg .digits{fill:var(--page);font-weight:bold;text-anchor:middle}.stuck .number{fill:var(--stuck)}\
code{font:13px ui-monospace,monospace}li.stuck{list-style:'\u{2717} ';color:var(--stuck);font-weight:bold}\
#from{stop-color:var(--unknown)}#to{stop-color:var(--unknown);stop-opacity:0}";

/// The page, as HTML without scripts and without anything from elsewhere.
pub fn timeline(title: &str, report: &Report) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}: {verdict}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>\
         <linearGradient id=\"fade\"><stop id=\"from\" offset=\"0.2\"/><stop id=\"to\" offset=\"1\"/>\
         </linearGradient></defs></svg>\n\
         <p>Linearizable: <strong>{verdict}</strong>. {} operations ({} ok, {} failed, {} unknown) on {} keys.</p>\n",
        report.operations,
        report.ok,
        report.fail,
        report.unknown,
        report.keys,
        title = escape(title),
        verdict = report.verdict.as_str(),
    );
    for failure in &report.failures {
        page += &section(failure);
    }
    for doubt in &report.undecided {
        let _ = writeln!(page, "<p>Key <code>{}</code>: {}</p>", escape(&doubt.key), escape(&doubt.reason));
    }
    page + "</body></html>\n"
}

fn section(failure: &Failure) -> String {
    let Failure { key, operations, reason, prefix, order, stuck, shortest } = failure;
    let length = if *shortest { "shortest beginning" } else { "beginning (there may be a shorter one)" };
    let mut out = format!(
        "<section><h2>Key <code>{}</code></h2>\n<p>{}. The {length} that cannot be explained: {} of {operations} \
         operations.</p>\n<div class=\"lines\">{}</div>\n",
        escape(key),
        escape(reason),
        prefix.len(),
        drawing(failure),
    );
    out += "<h3>An order that explains the rest</h3>\n<ol>\n";
    for at in order {
        let _ = writeln!(out, "<li>{}</li>", line(&prefix[*at]));
    }
    out += "</ol>\n<ul>\n";
    for at in stuck {
        let _ = writeln!(out, "<li class=\"stuck\">{} fits nowhere</li>", line(&prefix[*at]));
    }
    out + "</ul></section>\n"
}

fn line(operation: &Operation) -> String {
    format!("client {}: <code>{}</code>", operation.client, escape(&operation.to_string()))
}

/// One row for each client, one bar for each operation.
fn drawing(failure: &Failure) -> String {
    let prefix = &failure.prefix;
    let times = prefix.iter().flat_map(|operation| [Some(operation.call_ns), answer_ns(operation)]);
    let times: BTreeSet<u64> = times.flatten().collect();
    let columns: BTreeMap<u64, usize> = times.into_iter().zip(0..).collect();
    let clients: BTreeSet<u64> = prefix.iter().map(|operation| operation.client).collect();
    let rows: BTreeMap<u64, usize> = clients.into_iter().zip(0..).collect();
    let (width, height) = (NAMES_PX + columns.len() * EVENT_PX + END_PX, (rows.len() + 1) * ROW_PX);

    let mut svg = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Operations by client\">\n"
    );
    for (client, row) in &rows {
        let y = row * ROW_PX + ROW_PX / 2;
        let _ = writeln!(
            svg,
            "<line class=\"row\" x1=\"{NAMES_PX}\" y1=\"{y}\" x2=\"{width}\" y2=\"{y}\"/>\
             <text x=\"8\" y=\"{}\">client {client}</text>",
            y + 4
        );
    }
    for (at, operation) in prefix.iter().enumerate() {
        let from = columns[&operation.call_ns];
        let to = answer_ns(operation).map_or_else(
            || {
                // It fades out, at the latest where its client goes on.
                let mine = prefix.iter().filter(|other| other.client == operation.client);
                let later = mine.map(|other| other.call_ns).filter(|call_ns| *call_ns > operation.call_ns);
                later.min().map_or(columns.len() + 1, |call_ns| columns[&call_ns])
            },
            |return_ns| columns[&return_ns],
        );
        let place = Place {
            x: NAMES_PX + from * EVENT_PX + 4,
            y: rows[&operation.client] * ROW_PX + 6,
            width: ((to - from) * EVENT_PX).max(EVENT_PX) - 8,
        };
        let number = failure.order.iter().position(|placed| *placed == at).map(|number| number + 1);
        svg += &bar(operation, &place, number, failure.stuck.contains(&at));
    }
    let y = rows.len() * ROW_PX + ROW_PX / 2;
    for (time_ns, column) in columns.iter().filter(|(_, column)| *column % 5 == 0) {
        let (x, ms) = (NAMES_PX + column * EVENT_PX + 4, *time_ns as f64 / 1e6);
        let _ = writeln!(svg, "<text class=\"faint\" x=\"{x}\" y=\"{y}\">{ms:.3} ms</text>");
    }
    svg + "</svg>"
}

struct Place {
    x: usize,
    y: usize,
    width: usize,
}

fn bar(operation: &Operation, place: &Place, number: Option<usize>, is_stuck: bool) -> String {
    let Place { x, y, width } = place;
    let kind = match operation.outcome {
        Outcome::Ok => "ok",
        Outcome::Fail => "fail",
        Outcome::Unknown => "unknown",
    };
    let stuck = if is_stuck { " stuck" } else { "" };
    let place = match (number, is_stuck) {
        (_, true) => "fits nowhere".to_string(),
        (Some(number), _) => format!("number {number} in the order"),
        (None, _) => "not needed".to_string(),
    };
    let times = match answer_ns(operation) {
        Some(return_ns) => format!("{} to {return_ns} ns", operation.call_ns),
        None => format!("from {} ns on", operation.call_ns),
    };
    let node = if operation.node.is_empty() { String::new() } else { format!(" at {}", operation.node) };
    let title = format!("client {}{node}: {operation}\n{times}, {place}", operation.client);
    let mark = if is_stuck { Some("\u{2717}".into()) } else { number.map(|number| number.to_string()) };
    let (mark, label_x) = mark.map_or((String::new(), 6), |mark: String| {
        let mark_px = 11 + 7 * mark.chars().count();
        let mark = format!(
            "<rect class=\"number\" x=\"1\" y=\"5\" width=\"{mark_px}\" height=\"18\" rx=\"9\"/>\
             <text class=\"digits\" x=\"{}\" y=\"18\">{mark}</text>",
            1 + mark_px / 2
        );
        (mark, mark_px + 5)
    });
    let label = escape(&label(operation));
    // It may be too short for words, and nothing comes after it.
    let aside = if is_stuck {
        let text = escape(&operation.to_string());
        format!("<text class=\"aside\" x=\"{}\" y=\"{}\">{text}</text>", x + width + 8, y + 18)
    } else {
        String::new()
    };
    format!(
        "<g class=\"{kind}{stuck}\"><title>{}</title><svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"28\">\
         <rect class=\"bar\" x=\"1\" y=\"1\" width=\"{}\" height=\"26\" rx=\"4\"/>{mark}\
         <text x=\"{label_x}\" y=\"18\">{label}</text></svg>{aside}</g>\n",
        escape(&title),
        width - 2,
    )
}

/// The least that tells operations apart; the rest is in the title.
fn label(operation: &Operation) -> String {
    let shown = if operation.argument.is_null() { &operation.result } else { &operation.argument };
    let first = operation.op.chars().next().unwrap_or(' ');
    format!("{first} {shown}")
}

fn answer_ns(operation: &Operation) -> Option<u64> {
    operation.return_ns.filter(|_| operation.outcome != Outcome::Unknown)
}

/// Text as HTML shows it, in elements and attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
