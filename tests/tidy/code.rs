//! Rust sources as words: comments and the contents of strings are gone, so what is left is code.

/// Identifiers, `::`, and every other visible character by itself.
pub fn words(source: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string(rest) {
            length
        } else if let Some(length) = character(rest) {
            length
        } else if rest.starts_with("::") {
            words.push("::".into());
            2
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            words.push(rest[..length].into());
            length
        } else {
            if !first.is_whitespace() {
                words.push(first.into());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the string literal that stands here, plain, raw or of bytes.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "r", "b", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let rest = &text[prefix.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let raw = prefix.ends_with('r');
    if hashes > 0 && !raw {
        return None;
    }
    let start = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let mut at = start;
    while at < text.len() {
        if !raw && text[at..].starts_with('\\') {
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if text[at..].starts_with(&end) {
            return Some(at + end.len());
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// Length of the character literal that stands here; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let mut characters = rest.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let end = rest[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(1 + at + 1)
}

/// What is named right below `root`, as `root::name` or in a list `root::{name, other::deeper}`.
pub fn below<'a>(words: &'a [String], root: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for start in 0..words.len() {
        let Some(after) = words[start..].iter().zip(root).all(|(word, part)| word == part).then_some(start)
        else {
            continue;
        };
        let continues_a_path = start > 0 && words[start - 1] == "::";
        let Some(rest) = words.get(after + root.len()..).filter(|_| !continues_a_path) else { continue };
        match rest {
            [first, list @ ..] if first == "{" => found.extend(heads(list)),
            [name, ..] => found.push(name),
            [] => {}
        }
    }
    found
}

/// The first words of a list's items, up to its closing brace.
fn heads(list: &[String]) -> Vec<&str> {
    let mut heads = Vec::new();
    let (mut depth, mut at_head) = (1, true);
    for word in list {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => at_head = true,
            name if at_head => {
                heads.push(name);
                at_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn comments_and_strings_are_no_code() {
    let source = r##"
        // sled
        /* axum */ let a = "openraft \" tokio"; let b = r#"rand " f64"#; let c = b"x";
        let d: &'static str = '"'; let e = '\''; std::fs::read("//");
    "##;
    let words = words(source);
    for gone in ["sled", "axum", "openraft", "tokio", "rand", "f64"] {
        assert!(!words.iter().any(|word| word == gone), "{gone} in {words:?}");
    }
    assert!(words.iter().any(|word| word == "static"));
    assert_eq!(below(&words, &["std", "::"]), ["fs"]);
}

#[test]
fn lists_are_looked_into() {
    let words = words("use crate::{node::Node, http, api::{kv::A, b}}; crate::cache::x(); a::crate::no;");
    assert_eq!(below(&words, &["crate", "::"]), ["node", "http", "api", "cache"]);
}
