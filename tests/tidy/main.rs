//! The house rules, held by a test: who may import whom, what every file begins with, how long it is, and
//! that every invariant is tested.
//!
//! `code.rs` takes comments and strings out of a source; `walls.rs` knows the rooms; `circles.rs`, `files.rs` and
//! `invariants.rs` hold the rest. Each rule is a function from a text to complaints, and is shown a bad text
//! to prove that it complains.

mod circles;
mod code;
mod files;
mod formats;
mod invariants;
mod walls;

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of this package.
struct Source {
    /// Relative to the package, with slashes.
    path: String,
    text: String,
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder of the package.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![package().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            // What npm put there is not ours.
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                let path = path.strip_prefix(package()).expect("it is below");
                found.push(Source { path: path.to_str().expect("UTF-8").replace('\\', "/"), text });
            }
        }
    }
    assert!(!found.is_empty(), "there is something in {folder}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn assert_clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
