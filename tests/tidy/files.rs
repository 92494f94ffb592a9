//! What holds for every file: it begins with what it is, it is short, and nothing in it is put off.

use super::code::words;
use super::{Source, assert_clean, sources};

/// Lines a file may have, its tests at the end not counted.
const LINES_MAX: usize = 499;

fn complaints(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut complaints = Vec::new();
    if !text.starts_with("//! ") {
        complaints.push(format!("{path}: the first line says in a `//!` what the file is"));
    }
    let lines = lines_without_tests(text);
    if lines > LINES_MAX {
        complaints.push(format!("{path}: {lines} lines, at most {LINES_MAX} without the tests at its end"));
    }
    let words = words(text);
    let stands = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    for name in ["todo", "unimplemented"] {
        if stands(&[name, "!"]) {
            complaints.push(format!("{path}: `{name}!` is no code"));
        }
    }
    if stands(&["#", "[", "ignore"]) {
        complaints.push(format!("{path}: a test that is ignored tests nothing"));
    }
    complaints
}

fn lines_without_tests(text: &str) -> usize {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..=tests]).lines().count()
}

#[test]
fn every_file_is_in_order() {
    let folders = [
        "src",
        "tests",
        "benches/attacks",
        "benches/growth",
        "benches/hot",
        "benches/rivals/src",
        "benches/soak",
    ];
    let all = folders.map(sources);
    let all: Vec<String> = all.iter().flatten().flat_map(complaints).collect();
    assert_clean(&all);
}

fn about(text: &str) -> usize {
    complaints(&Source { path: "src/made/up.rs".into(), text: text.into() }).len()
}

#[test]
fn disorder_is_noticed() {
    assert_eq!(about("//! A file.\n"), 0);
    assert_eq!(about("use std::fmt;\n"), 1);
    assert_eq!(about("// A file.\n"), 1);
    assert_eq!(about("//! A file.\nfn f() { todo!() }\n"), 1);
    assert_eq!(about("//! A file.\nfn f() { unimplemented!(\"later\") }\n"), 1);
    assert_eq!(about("//! A file.\n#[test]\n#[ignore]\nfn f() {}\n"), 1);
    assert_eq!(about("//! A file.\n#[ignore = \"slow\"]\nfn f() {}\n"), 1);
    assert_eq!(about("//! A file.\n// todo!() is what we never write.\n"), 0);
}

#[test]
fn a_long_file_is_noticed_unless_its_tests_make_it_long() {
    let body = "fn f() {}\n".repeat(LINES_MAX - 1);
    assert_eq!(about(&format!("//! A file.\n{body}")), 0);
    assert_eq!(about(&format!("//! A file.\n{body}fn g() {{}}\n")), 1);
    assert_eq!(about(&format!("//! A file.\n{body}#[cfg(test)]\nmod tests {{\n{body}}}\n")), 0);
}
