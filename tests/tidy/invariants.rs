//! Every invariant of `docs/INVARIANTS.md` is named by a test, and every ID that a test may name is there.

use super::{Source, assert_clean, package, sources};
use std::collections::BTreeSet;
use std::fs;

/// The IDs a page lists, in lines that start with `- **C1`.
fn listed(page: &str) -> Vec<&str> {
    let entries = page.lines().filter_map(|line| line.strip_prefix("- **"));
    entries.map(|entry| entry.split([' ', '*']).next().unwrap_or(entry)).collect()
}

/// The part of a file that is tests.
fn tests_of(source: &Source) -> &str {
    let Source { path, text } = source;
    if path.starts_with("tests/tidy/") {
        // Naming an ID here tests nothing.
        ""
    } else if path.starts_with("tests/") || path.ends_with("_test.rs") {
        text
    } else {
        text.find("#[cfg(test)]\nmod tests").map_or("", |start| &text[start..])
    }
}

fn names(text: &str, id: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word == id)
}

fn complaints(page: &str, sources: &[Source]) -> Vec<String> {
    let ids = listed(page);
    let mut complaints = Vec::new();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    if unique.len() != ids.len() || ids.is_empty() {
        complaints.push("the page lists invariants, each once".into());
    }
    let untested = unique.into_iter().filter(|id| !sources.iter().any(|source| names(tests_of(source), id)));
    complaints.extend(untested.map(|id| format!("no test names {id}")));
    complaints
}

#[test]
fn every_invariant_is_named_by_a_test() {
    let page = fs::read_to_string(package().join("docs/INVARIANTS.md")).expect("the page");
    let sources: Vec<Source> = [sources("src"), sources("tests")].into_iter().flatten().collect();
    assert_clean(&complaints(&page, &sources));
}

#[test]
fn an_invariant_without_a_test_is_noticed() {
    let page = "# Page\n\n- **X1 one** First.\n- **X2 two** Second.\nText about **X3**.\n";
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let check = |sources: &[Source]| complaints(page, sources);
    let both = file("tests/a/main.rs", "/// X1, X2: yes.");
    assert_eq!(check(&[both]), Vec::<String>::new());
    let part = file("src/raft/log.rs", "/// X2\n#[cfg(test)]\nmod tests {\n/// X1\n}\n");
    assert_eq!(check(&[part]), ["no test names X2"]);
    let module = file("src/raft/suite_test.rs", "/// X1\n");
    let longer = file("tests/b.rs", "/// X20 and MAX2\n");
    assert_eq!(check(&[module, longer]), ["no test names X2"]);
    let here = file("tests/tidy/invariants.rs", "X1 X2");
    assert_eq!(check(&[here]), ["no test names X1", "no test names X2"]);
    assert_eq!(complaints("- **X1** a\n- **X1** b\n", &[file("tests/a.rs", "X1")]).len(), 1);
    assert_eq!(complaints("nothing", &[]).len(), 1);
}
