//! Conditional requests (RFC 9110, section 13). A key's entity tag is its revision, in decimal digits and quotes. Any other
//! tag matches nothing.

use super::api_error::ApiError;
use super::cursor::Cursor;
use super::extract::{bad_header, bad_query, whole};
use super::response_headers::etag;
use crate::api::ErrorCode;
use crate::cache::Condition;
use crate::cache::limits::CONDITION_REVISIONS_MAX;
use crate::lineage::Lineage;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

/// What `If-Match` or `If-None-Match` lists.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever is there.
    Any,
    /// The tags that can be revisions.
    Ours(Vec<Tag>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    weak: bool,
    revision: u64,
}

/// The conditions of a read.
pub(super) struct ReadConditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl<S: Sync> FromRequestParts<S> for ReadConditions {
    type Rejection = ApiError;

    /// From the parts, not from a copy of the headers: as long as a part of a request lives, its connection cannot reuse its
    /// buffer.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}

impl ReadConditions {
    /// # Errors
    /// `invalid_header`.
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: tags(headers, &header::IF_MATCH)?,
            if_none_match: tags(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether the client has this revision already.
    ///
    /// # Errors
    /// `precondition_failed`: the client wants another revision, or none.
    pub fn knows(&self, revision: u64) -> Result<bool, ApiError> {
        let strongly = |tags: &Tags| match tags {
            Tags::Any => true,
            Tags::Ours(tags) => tags.iter().any(|tag| !tag.weak && tag.revision == revision),
        };
        let weakly = |tags: &Tags| match tags {
            Tags::Any => true,
            Tags::Ours(tags) => tags.iter().any(|tag| tag.revision == revision),
        };
        if !self.if_match.as_ref().is_none_or(strongly) {
            let reason = format!("precondition failed: the key is at revision {revision}");
            let now = HeaderMap::from_iter([(header::ETAG, etag(revision))]);
            return Err(ApiError::new(ErrorCode::PreconditionFailed, reason)
                .revision(revision)
                .with_headers(now));
        }
        Ok(self.if_none_match.as_ref().is_some_and(weakly))
    }
}

/// The condition of a put: that of its headers, or that its key is absent since an index.
///
/// # Errors
/// As [`write_condition`]; `invalid_query`; `other_history`: the index is none of this history.
pub(super) fn put_condition(
    headers: &HeaderMap,
    if_absent_since: Option<&str>,
    lineage: &Lineage,
) -> Result<Condition, ApiError> {
    let condition = write_condition(headers)?;
    let Some(text) = if_absent_since else { return Ok(condition) };
    let name = "if_absent_since";
    let wrong = || bad_query(name, format!("`{text}` is no log index"));
    let index = Cursor::parse(text).ok_or_else(wrong)?.index_in(lineage)?;
    match condition {
        Condition::Always => Ok(Condition::AbsentSince(index)),
        _ => Err(bad_query(name, "cannot stand together with another condition".into())),
    }
}

/// The condition of a write.
///
/// # Errors
/// `invalid_header`, also for more than [`CONDITION_REVISIONS_MAX`] different revisions.
pub(super) fn write_condition(headers: &HeaderMap) -> Result<Condition, ApiError> {
    let if_match = match tags(headers, &header::IF_MATCH)? {
        None => Condition::Always,
        Some(Tags::Any) => Condition::Present,
        Some(Tags::Ours(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            let strong = revisions(strong, &header::IF_MATCH)?;
            match strong[..] {
                // Revisions begin with 1, so nothing has this one.
                [] => Condition::Revision(0),
                [revision] => Condition::Revision(revision),
                _ => Condition::AnyOf(strong.into()),
            }
        }
    };
    let if_none_match = match tags(headers, &header::IF_NONE_MATCH)? {
        None => Condition::Always,
        Some(Tags::Any) => Condition::Absent,
        Some(Tags::Ours(tags)) if tags.is_empty() => Condition::Always,
        Some(Tags::Ours(tags)) => Condition::NoneOf(revisions(tags.iter(), &header::IF_NONE_MATCH)?.into()),
    };
    match (if_match, if_none_match) {
        (condition, Condition::Always) | (Condition::Always, condition) => Ok(condition),
        _ => Err(bad_header(&header::IF_MATCH, "cannot stand together with if-none-match")),
    }
}

/// The revisions that these tags name, each once and in order. So lists that mean the same become the same command, as
/// idempotency keys require.
fn revisions<'a>(tags: impl Iterator<Item = &'a Tag>, name: &HeaderName) -> Result<Vec<u64>, ApiError> {
    let mut revisions: Vec<u64> = tags.map(|tag| tag.revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    if revisions.len() > CONDITION_REVISIONS_MAX {
        let reason = format!("a write compares at most {CONDITION_REVISIONS_MAX} revisions");
        return Err(bad_header(name, &reason));
    }
    Ok(revisions)
}

/// Reads all lines of a header as one list.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let wrong = || bad_header(name, "expected `*`, or tags in quotes as answers give them, like `\"42\"`");
    let (mut is_any, mut count, mut ours) = (false, 0_usize, Vec::new());
    for line in headers.get_all(name) {
        let mut rest = line.as_bytes();
        loop {
            rest = rest.trim_ascii_start();
            match rest {
                [] => break,
                [b',', after @ ..] => {
                    rest = after;
                    continue;
                }
                [b'*', after @ ..] => (is_any, rest) = (true, after),
                _ => {
                    let (weak, quoted) = match rest.strip_prefix(b"W/") {
                        Some(quoted) => (true, quoted),
                        None => (false, rest),
                    };
                    let text = quoted.strip_prefix(b"\"").ok_or_else(wrong)?;
                    let end = text.iter().position(|byte| *byte == b'"').ok_or_else(wrong)?;
                    let (text, after) = (&text[..end], &text[end + 1..]);
                    if text.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
                        return Err(wrong());
                    }
                    ours.extend(revision_of(text).map(|revision| Tag { weak, revision }));
                    rest = after;
                }
            }
            count += 1;
            if !matches!(rest.trim_ascii_start(), [] | [b',', ..]) {
                return Err(wrong());
            }
        }
    }
    match (is_any, count) {
        (_, 0) => Err(wrong()),
        (true, 1) => Ok(Some(Tags::Any)),
        (true, _) => Err(wrong()),
        (false, _) => Ok(Some(Tags::Ours(ours))),
    }
}

/// The revision of a tag.
fn revision_of(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('0'))?;
    whole(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn lists_are_read_as_the_grammar_has_them() {
        let read = |value: &str| tags(&headers(&[(header::IF_MATCH, value)]), &header::IF_MATCH);
        let tag = |weak, revision| Tag { weak, revision };
        for (value, ours) in [
            ("\"42\"", vec![tag(false, 42)]),
            ("W/\"42\" , \"7\"", vec![tag(true, 42), tag(false, 7)]),
            (" , \"1\",,\t\"2\" ,", vec![tag(false, 1), tag(false, 2)]),
            ("\"a,b\", \"3\"", vec![tag(false, 3)]),
            ("\"\"", vec![]),
            ("\"042\", \"+42\", \" 42\"", vec![]),
            ("\"18446744073709551616\"", vec![]),
            ("\"\u{fc}\"", vec![]),
        ] {
            if value.contains("\" 42") {
                assert!(read(value).is_err(), "a tag has no spaces");
                continue;
            }
            assert_eq!(read(value).unwrap(), Some(Tags::Ours(ours)), "{value}");
        }
        assert_eq!(read(" * ").unwrap(), Some(Tags::Any));
        for wrong in
            ["", " ", ",", "42", "\"42", "*, \"1\"", "* *", "\"1\" \"2\"", "w/\"1\"", "W/ \"1\"", "\"1\"x"]
        {
            assert!(read(wrong).is_err(), "`{wrong}`");
        }
        let two = headers(&[(header::IF_MATCH, "\"1\""), (header::IF_MATCH, "\"2\"")]);
        assert_eq!(
            tags(&two, &header::IF_MATCH).unwrap(),
            Some(Tags::Ours(vec![tag(false, 1), tag(false, 2)]))
        );
    }

    #[test]
    fn readers_get_what_they_do_not_have() {
        let knows = |lines: &[(HeaderName, &str)]| {
            let conditions = ReadConditions::of(&headers(lines)).unwrap();
            conditions.knows(33).map_err(|error| error.problem().code)
        };
        let (same, other) = (header::IF_MATCH, header::IF_NONE_MATCH);
        for (value, expected) in [
            ("\"33\"", true),
            ("W/\"33\"", true),
            ("\"1\", W/\"33\"", true),
            ("*", true),
            ("\"abc\"", false),
            ("\"033\"", false),
            ("\"+33\"", false),
        ] {
            assert_eq!(knows(&[(other.clone(), value)]), Ok(expected), "{value}");
        }
        let failed = Err(ErrorCode::PreconditionFailed);
        for (value, expected) in [
            ("\"33\"", Ok(false)),
            ("*", Ok(false)),
            ("W/\"33\"", failed),
            ("\"1\", \"2\"", failed),
            ("\"x\"", failed),
        ] {
            assert_eq!(knows(&[(same.clone(), value)]), expected, "{value}");
        }
        assert_eq!(knows(&[(same.clone(), "\"33\""), (other, "\"33\"")]), Ok(true), "both are asked for");
    }

    #[test]
    fn writes_have_one_condition() {
        let condition = |lines: &[(HeaderName, &str)]| write_condition(&headers(lines)).ok();
        let (same, other) = (header::IF_MATCH, header::IF_NONE_MATCH);
        for (value, expected) in [
            ("*", Some(Condition::Present)),
            ("\"5\"", Some(Condition::Revision(5))),
            ("\"5\", \"x\", W/\"6\", \"5\"", Some(Condition::Revision(5))),
            ("W/\"5\"", Some(Condition::Revision(0))),
            ("\"x\"", Some(Condition::Revision(0))),
            ("\"6\", \"5\", \"6\", W/\"7\"", Some(Condition::AnyOf([5, 6].into()))),
            ("5", None),
        ] {
            assert_eq!(condition(&[(same.clone(), value)]), expected, "{value}");
        }
        for (value, expected) in [
            ("*", Some(Condition::Absent)),
            ("\"x\", W/\"y\"", Some(Condition::Always)),
            ("\"5\"", Some(Condition::NoneOf([5].into()))),
            ("W/\"6\", \"x\", \"5\"", Some(Condition::NoneOf([5, 6].into()))),
            ("5", None),
        ] {
            assert_eq!(condition(&[(other.clone(), value)]), expected, "{value}");
        }
        assert_eq!(
            condition(&[(same.clone(), "\"5\""), (other.clone(), "\"x\"")]),
            Some(Condition::Revision(5))
        );
        assert_eq!(condition(&[(same, "*"), (other, "*")]), None);
    }
}
