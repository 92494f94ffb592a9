//! `docs/formats.md` says which version each format has, and so does the source.

use super::assert_clean;
use std::fs;
use std::path::Path;

/// The version of the peer protocol is a range, and is compared by the tests of the handshake.
const RANGE: &str = "Protocols::THIS";

/// Rows of the table: format, place, "`CONSTANT` in `file`", version.
fn rows(page: &str) -> Vec<[String; 2]> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, _, constant, version, _] = cells[..] else { return None };
        constant.starts_with('`').then(|| [constant.to_owned(), version.to_owned()])
    };
    page.lines().filter_map(row).collect()
}

fn complaint([constant, version]: &[String; 2]) -> Option<String> {
    let (name, file) = constant.trim_matches('`').split_once("` in `").expect("`CONSTANT` in `file`");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if name == RANGE {
        let (min, max) = version.split_once(" to ").expect("a range");
        let stated = format!("Self {{ min: {min}, max: {max} }};");
        return (!source.contains(&stated))
            .then(|| format!("{name} is not {version}, as docs/formats.md has it"));
    }
    let stated = source.lines().find_map(|line| {
        let (head, value) = line.trim_end_matches(';').split_once(" = ")?;
        let is_it = head.trim_start_matches("pub(super) ").starts_with(&format!("const {name}: "));
        is_it.then(|| value.to_owned())
    });
    (stated.as_ref() != Some(version))
        .then(|| format!("{name} in {file} is {stated:?}, and {version} in docs/formats.md"))
}

#[test]
fn the_page_and_the_source_name_the_same_versions() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let rows = rows(&fs::read_to_string(page).expect("it is there"));
    assert!(rows.len() >= 10, "the table is found: {rows:?}");
    assert_clean(&rows.iter().filter_map(complaint).collect::<Vec<_>>());
}
