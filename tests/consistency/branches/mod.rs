//! Histories that fork and are brought together again, under clients and with nodes that are killed: what each branch told its
//! clients is linearizable together with the trunk that it grew from, nothing acknowledged is missing in the end, and no value
//! comes back that somebody was told is replaced.

mod clients;
mod judge;
mod rounds;

pub use rounds::Act;

use rounds::{Told, play};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Plays rounds, each act in turn, until the time is over or something is wrong; at least one of each. What became of each is in
/// `branches.jsonl`.
pub async fn run(acts: &[Act], seed: u64, length: Duration, folder: &Path) -> Vec<Told> {
    let begun = Instant::now();
    let mut all: Vec<Told> = Vec::new();
    let mut file =
        OpenOptions::new().create(true).append(true).open(folder.join("branches.jsonl")).expect("a file");
    for number in 0.. {
        if number > 0 && begun.elapsed() >= length {
            break;
        }
        for act in acts {
            let told = play(*act, seed.wrapping_add(number), folder).await;
            writeln!(file, "{}", serde_json::to_string(&told).expect("JSON")).expect("written");
            let is_sound = told.violations.is_empty();
            all.push(told);
            if !is_sound {
                return all;
            }
        }
    }
    all
}

/// A line for each act: how many rounds, and what was done in them.
pub fn summary(all: &[Told]) -> String {
    let of = |act: Act| {
        let rounds: Vec<&Told> = all.iter().filter(|told| told.act == act).collect();
        let sum = |number: fn(&Told) -> usize| rounds.iter().map(|told| number(told)).sum::<usize>();
        format!(
            "{act:?}: {} rounds, {} operations, {} acknowledged, {} by branches, {} killed, {} keys in files of losers",
            rounds.len(),
            sum(|told| told.operations),
            sum(|told| told.acknowledged),
            sum(|told| told.on_branch),
            sum(|told| told.kills),
            sum(|told| told.lost),
        )
    };
    let wrong = all
        .iter()
        .flat_map(|told| told.violations.iter().map(move |what| format!("seed {}: {what}", told.seed)));
    [of(Act::Detach), of(Act::Recover)].into_iter().chain(wrong).collect::<Vec<String>>().join("\n")
}
