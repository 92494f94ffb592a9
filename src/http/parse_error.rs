//! What a parser says about a text from outside. Errors go to logs and to people, so they repeat no content: a value may be a
//! secret, and a whole token may stand where a name is expected.

/// Names that are repeated, because a person may have mistyped them. A token is longer.
const NAME_BYTES_SHOWN: usize = 32;

/// The parser's message in other words than those of Rust, and without what the text has but short names.
pub(super) fn in_words(said: &str) -> String {
    let said = without_long_name(&without_text(said));
    said.replace("expected u64", "expected a whole number from 0")
        .replace("expected i64", "expected a whole number")
        .replace("unknown variant", "unknown name")
}

/// serde says `invalid type: string "…", expected …`, with the whole text.
fn without_text(said: &str) -> String {
    let parts =
        said.split_once("string \"").and_then(|(start, rest)| Some((start, rest.rsplit_once("\", ")?.1)));
    parts.map_or_else(|| said.to_owned(), |(start, end)| format!("{start}a text, {end}"))
}

/// serde says `unknown field `…`, expected …`, or that there are no fields. Those words come last, whatever the name is.
fn without_long_name(said: &str) -> String {
    for kind in ["unknown field", "unknown variant"] {
        let Some(rest) = said.strip_prefix(kind).and_then(|rest| rest.strip_prefix(" `")) else { continue };
        let end = rest.rfind("`, expected").or_else(|| rest.rfind("`, there are no"));
        if let Some(end) = end.filter(|end| *end > NAME_BYTES_SHOWN) {
            return format!("{kind}{}", &rest[end + 1..]);
        }
    }
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        #[serde(rename = "count")]
        _count: Option<u64>,
        #[serde(rename = "kind")]
        _kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoField {}

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
    }

    #[test]
    fn a_slip_of_the_pen_is_named_and_content_is_not() {
        let said = |text: &str| in_words(&serde_json::from_str::<Fields>(text).expect_err(text).to_string());
        assert!(
            said(r#"{"cuont": 5}"#).starts_with("unknown field `cuont`, expected `count` or `kind` at line")
        );
        assert!(said(r#"{"kind": "smal"}"#).starts_with("unknown name `smal`, expected `small`"));
        assert!(said(r#"{"count": -5}"#).contains("`-5`, expected a whole number from 0"));
        assert!(
            said(r#"{"count": "five"}"#).starts_with("invalid type: a text, expected a whole number from 0")
        );
        let secret = "lsk_abcdefghij_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for inside in
            [secret.to_owned(), format!("{secret}`, expected {secret}"), format!(r#"{secret}\", {secret}"#)]
        {
            for text in [
                format!(r#"{{"{inside}": 5}}"#),
                format!(r#"{{"count": "{inside}"}}"#),
                format!(r#"{{"kind": "{inside}"}}"#),
            ] {
                let said = said(&text);
                assert!(!said.contains(&secret[..20]), "{text}: {said}");
            }
        }
        let nothing = serde_json::from_str::<NoField>(&format!(r#"{{"{secret}": 5}}"#)).expect_err("a field");
        assert!(
            in_words(&nothing.to_string()).starts_with("unknown field, there are no fields"),
            "{nothing}"
        );
    }
}
