//! What happened, as lines of text, and a hash over that and over every byte on the wire.

use std::collections::VecDeque;
use std::fmt::Write;
use xxhash_rust::xxh3::Xxh3;

/// Lines kept to be shown after a failure.
const KEPT: usize = 400;

pub struct Trace {
    hash: Xxh3,
    newest: VecDeque<String>,
    /// All lines, where they are asked for.
    whole: Option<String>,
    pub lines: u64,
}

impl Trace {
    pub fn new(whole: bool) -> Self {
        Self { hash: Xxh3::new(), newest: VecDeque::new(), whole: whole.then(String::new), lines: 0 }
    }

    pub fn note(&mut self, at_ms: u64, what: &str) {
        let line = format!("{at_ms:>7} {what}");
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if let Some(whole) = &mut self.whole {
            let _ = writeln!(whole, "{line}");
        }
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(line);
    }

    /// What counts for the hash, and would be too much to read.
    pub fn note_number(&mut self, number: u64) {
        self.hash.update(&number.to_le_bytes());
    }

    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// The whole trace, or the end of it.
    pub fn text(&self) -> String {
        match &self.whole {
            Some(whole) => whole.clone(),
            None => self.newest.iter().map(|line| format!("{line}\n")).collect(),
        }
    }
}
