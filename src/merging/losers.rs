//! What has lost, from the files in a data folder.

use crate::node::Node;
use serde::Serialize;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::SystemTime;

/// At most so many lines, and about so many bytes, are read.
const LINES_MAX: usize = 200;
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longer values are left out; they are in the file.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// Answer of `GET /v1/losers`.
#[derive(Debug, Default, Serialize)]
pub struct Losers {
    /// Of the newest file first; in the order of the file.
    pub losers: Vec<Loser>,
    /// Whether there are more in the files.
    pub more: bool,
}

/// A change that did not come to be.
#[derive(Debug, Serialize)]
pub struct Loser {
    /// The file that has it.
    pub file: PathBuf,
    /// The line as it is there, without a long value.
    #[serde(flatten)]
    pub line: Value,
}

/// Reads what lost when this node came back into its cluster. Blocks.
///
/// # Errors
/// A file cannot be read.
pub fn losers(node: &Node) -> io::Result<Losers> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    let folder = node.data_dir().join("reconcile");
    if !folder.is_dir() {
        return Ok(Losers::default());
    }
    for history in fs::read_dir(folder)? {
        let history = history?.path();
        if !history.is_dir() {
            continue;
        }
        for file in fs::read_dir(history)? {
            let file = file?;
            if file.file_name().to_string_lossy().ends_with(".losers.jsonl") {
                files.push((file.metadata()?.modified()?, file.path()));
            }
        }
    }
    files.sort();
    let (mut found, mut left) = (Losers::default(), BYTES_MAX);
    for (_, path) in files.into_iter().rev() {
        let mut reader = BufReader::new(File::open(&path)?);
        let mut text = String::new();
        loop {
            text.clear();
            let bytes = reader.read_line(&mut text)? as u64;
            if bytes == 0 {
                break;
            }
            if found.losers.len() >= LINES_MAX || left < bytes {
                found.more = true;
                return Ok(found);
            }
            left -= bytes;
            // A last line that was cut short is not written yet.
            let Ok(mut line) = serde_json::from_str::<Value>(&text) else { break };
            for name in ["value", "value_base64"] {
                let is_long = line[name].as_str().is_some_and(|value| value.len() > VALUE_BYTES_MAX);
                if is_long && let Some(fields) = line.as_object_mut() {
                    fields.remove(name);
                }
            }
            found.losers.push(Loser { file: path.clone(), line });
        }
    }
    Ok(found)
}
