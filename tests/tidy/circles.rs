//! Inside some rooms, no file imports a file that imports it: they can be read from the leaves up.

use super::code::{below, words};
use super::{Source, assert_clean, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The rooms without circles. A folder inside a room counts as one file.
const ROOMS: [&str; 2] = ["cache", "storage"];

/// What each file of a room imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn imports(room: &str, sources: &[Source]) -> Imports {
    let folder = format!("src/{room}/");
    let inside = |source: &Source| source.path.strip_prefix(&folder).map(str::to_owned);
    let files: Vec<(String, Vec<String>)> = sources
        .iter()
        .filter_map(|source| Some((inside(source)?, words(without_tests(&source.text)))))
        .collect();
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module(path).to_owned()).collect();
    let root = files.iter().find(|(path, _)| path == "mod.rs").map_or(&[][..], |(_, words)| words);
    // A name that the room's root exports stands for the file that it comes from.
    let exported: BTreeMap<&str, &str> = modules
        .iter()
        .flat_map(|from| below(root, &["use", from, "::"]).into_iter().map(move |name| (name, from.as_str())))
        .collect();
    let mut imports = Imports::new();
    for (path, words) in files.iter().filter(|(path, _)| path != "mod.rs") {
        let depth = path.split('/').filter(|part| *part != "mod.rs").count();
        let names = below(words, &["crate", "::", room, "::"]);
        let names = names.into_iter().chain(below(words, &["super", "::"].repeat(depth)));
        let found = names.map(|name| exported.get(name).copied().unwrap_or(name));
        let others = found.filter(|other| modules.contains(*other) && *other != module(path));
        imports.entry(module(path).to_owned()).or_default().extend(others.map(str::to_owned));
    }
    imports
}

/// The file or folder right inside the room.
fn module(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests])
}

/// A circle, if there is one: takes away the files that import none of the rest, until none is left or none can go.
fn circle(mut imports: Imports) -> Vec<String> {
    loop {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        imports.retain(|_, others| !others.is_disjoint(&left));
        if imports.len() == left.len() {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn no_file_imports_its_importer() {
    let all = sources("src");
    for room in ROOMS {
        let imports = imports(room, &all);
        assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 20, "imports of `{room}` are found");
        let circle = circle(imports);
        let complaint = format!("{room}: these files import each other, or one that does: {circle:?}");
        assert_clean(if circle.is_empty() { &[] } else { std::slice::from_ref(&complaint) });
    }
}

#[test]
fn a_circle_is_noticed() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let found = |files: &[Source]| circle(imports("cache", files));
    let root = "mod a; mod b; mod c; pub use a::{A, Other}; pub use c::C;";
    let chain = |c: &str| {
        found(&[
            file("src/cache/mod.rs", root),
            file("src/cache/a.rs", "use super::{b::B, Cache};"),
            file("src/cache/b/mod.rs", "use crate::cache::C;"),
            file("src/cache/c.rs", c),
        ])
    };
    assert_eq!(chain("use std::fmt; // use super::a;"), [""; 0]);
    for back in ["use super::a::A;", "use super::A;", "fn f() { crate::cache::a::f() }"] {
        assert_eq!(chain(back), ["a", "b", "c"], "{back}");
    }
    assert_eq!(chain("fn f() {}\n#[cfg(test)]\nmod tests {\nuse super::super::a;\n}\n"), [""; 0]);
    let inner = file("src/cache/b/deep.rs", "use super::super::a::A;");
    let files = [file("src/cache/mod.rs", root), file("src/cache/a.rs", "use super::b::B;"), inner];
    assert_eq!(found(&files), ["a", "b"]);
}
