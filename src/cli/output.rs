//! What commands print: words for people, or with `--json` one object on the last line.

use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the object, or the words.
    pub fn print(self, object: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        use std::io::Write;
        let text = if self.json { serde_json::to_string(object)? } else { words() };
        let mut out = std::io::stdout().lock();
        let end = if text.is_empty() { "" } else { "\n" };
        match write!(out, "{text}{end}") {
            // The reader has seen enough, as in `lockstep keys | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }
}
