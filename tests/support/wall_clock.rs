//! A wall clock of its own for each process, by libfaketime.

use super::Node;
use std::path::{Path, PathBuf};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Where libfaketime is, if it is installed (apt install faketime).
pub fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

/// Gives a node that does not run yet a wall clock that [`throw`] can set.
pub fn install(node: &mut Node, library: &str) {
    throw(node, "+0");
    let file = clock_of(node).display().to_string();
    let settings = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    node.environment.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

/// Sets a node's wall clock as libfaketime has it: `+3600` seconds off the true time, `+0 x1.5` half as fast again.
pub fn throw(node: &Node, to: &str) {
    let file = clock_of(node);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    // Replaced at once, so that no half-written number is read.
    let aside = file.with_extension("aside");
    std::fs::write(&aside, format!("{to}\n")).expect("a clock");
    std::fs::rename(aside, file).expect("a clock");
}

fn clock_of(node: &Node) -> PathBuf {
    node.data_dir.with_extension("clock")
}
