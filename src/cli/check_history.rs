//! `lockstep check-history`: reads histories, judges them, and shows what fits nowhere.

use super::exit::{NotApproved, Usage};
use super::output::Output;
use crate::check::{Doubt, Failure, History, Operation, Options, Report, Verdict, check, timeline};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is judged, and how.
#[derive(Debug, Args)]
pub struct CheckHistoryArgs {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write an HTML page that shows what cannot be explained, for a single FILE
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
    /// Seconds that a file may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub deadline_s: u32,
    /// Judge by values only, ignoring revisions
    #[arg(long)]
    pub without_revisions: bool,
    /// Print one JSON object on the last line
    #[arg(long, env = "LOCKSTEP_JSON")]
    pub json: bool,
}

/// What came out for all files: the worst verdict, and sums.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    verdict: Verdict,
    operations: usize,
    ok: usize,
    fail: usize,
    unknown: usize,
    keys: usize,
    failures: Vec<InFile<'a, Failure>>,
    undecided: Vec<InFile<'a, Doubt>>,
    elapsed_ms: u64,
    files: Vec<InFile<'a, OfFile>>,
}

#[derive(Debug, Serialize)]
struct InFile<'a, T> {
    file: &'a str,
    #[serde(flatten)]
    what: T,
}

#[derive(Debug, Serialize)]
struct OfFile {
    verdict: Verdict,
    operations: usize,
    elapsed_ms: u64,
}

/// Runs the command.
pub async fn check_history(args: CheckHistoryArgs) -> Result<()> {
    if args.html.is_some() && args.files.len() > 1 {
        bail!(Usage("--html takes a single FILE".into()));
    }
    let output = Output { json: args.json };
    let options = Options {
        deadline: Duration::from_secs(args.deadline_s.into()),
        use_revisions: !args.without_revisions,
    };
    let html = args.html;
    let judge = move || args.files.iter().map(|file| judge(file, &options)).collect::<Result<Vec<_>>>();
    let judged: Vec<(String, Report)> = tokio::task::spawn_blocking(judge).await??;
    if let Some(path) = html {
        let (file, report) = &judged[0];
        std::fs::write(&path, timeline(file, report))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let summary = summarise(&judged);
    output.print(&summary, || {
        judged.iter().map(|(file, report)| describe(file, report)).collect::<Vec<_>>().join("\n")
    })?;
    match summary.verdict {
        Verdict::Yes => Ok(()),
        Verdict::No => Err(NotApproved::NotLinearizable.into()),
        Verdict::Undecided => Err(NotApproved::Undecided.into()),
    }
}

fn judge(path: &Path, options: &Options) -> Result<(String, Report)> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| Usage(format!("cannot open {shown}: {error}")))?;
    let history = History::read(BufReader::new(file))
        .map_err(|error| Usage(format!("{shown} is no history: {error}")))?;
    Ok((shown, check(&history, options)))
}

fn summarise(judged: &[(String, Report)]) -> Summary<'_> {
    let any = |verdict| judged.iter().any(|(_, report)| report.verdict == verdict);
    let worst = [Verdict::No, Verdict::Undecided].into_iter().find(|verdict| any(*verdict));
    let mut summary = Summary {
        verdict: worst.unwrap_or(Verdict::Yes),
        operations: 0,
        ok: 0,
        fail: 0,
        unknown: 0,
        keys: 0,
        failures: Vec::new(),
        undecided: Vec::new(),
        elapsed_ms: 0,
        files: Vec::new(),
    };
    for (file, report) in judged {
        summary.operations += report.operations;
        summary.ok += report.ok;
        summary.fail += report.fail;
        summary.unknown += report.unknown;
        summary.keys += report.keys;
        summary.elapsed_ms += report.elapsed_ms;
        summary.failures.extend(report.failures.iter().cloned().map(|what| InFile { file, what }));
        summary.undecided.extend(report.undecided.iter().cloned().map(|what| InFile { file, what }));
        let Report { verdict, operations, elapsed_ms, .. } = *report;
        summary.files.push(InFile { file, what: OfFile { verdict, operations, elapsed_ms } });
    }
    summary
}

fn describe(file: &str, report: &Report) -> String {
    let Report { operations, ok, fail, unknown, keys, elapsed_ms, .. } = report;
    let mut out = format!(
        "{file}: {} ({operations} operations: {ok} ok, {fail} failed, {unknown} unknown; keys: {keys}; {elapsed_ms} ms)",
        report.verdict.as_str()
    );
    for failure in &report.failures {
        let Failure { key, operations, reason, prefix, shortest, .. } = failure;
        let kind = if *shortest { "shortest " } else { "" };
        let _ = write!(
            out,
            "\n  key `{key}`: {reason}\n  the {kind}beginning that cannot be explained, {} of {operations} \
             operations, numbered in an order that explains the rest:",
            prefix.len()
        );
        for (at, operation) in prefix.iter().enumerate() {
            let _ = write!(out, "\n{}", row(failure, at, operation));
        }
    }
    for doubt in &report.undecided {
        let _ = write!(out, "\n  key `{}`: undecided, {}", doubt.key, doubt.reason);
    }
    out
}

/// Its number in the order, if it is needed; who asked, when, and what.
fn row(failure: &Failure, at: usize, operation: &Operation) -> String {
    let number = failure.order.iter().position(|placed| *placed == at);
    let number = match number {
        _ if failure.stuck.contains(&at) => "stuck".into(),
        Some(number) => (number + 1).to_string(),
        None => "-".into(),
    };
    let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let end = operation.return_ns.map(ms).unwrap_or_default();
    let times = format!("{}..{end} ms", ms(operation.call_ns));
    format!("  {number:>7}  client {:<4} {times:<24} {operation}", operation.client)
}
