//! Patterns of keys: `*` stands for any bytes, `?` for one, `[a-c]` and `[^x]` for one of a set; a backslash takes their meaning away.
//!
//! Only the last star is ever tried again, so a match takes time in proportion to the product of both lengths at most, whatever the pattern.

/// Whether the text matches the pattern.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // Behind the last star, and how much of the text it does not stand for.
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let Some((b'*', after)) = rest.split_first() {
            (star, rest) = (Some((after, at)), after);
            continue;
        }
        let step = text.get(at).map(|byte| one(rest, *byte));
        match step {
            None if rest.is_empty() => return true,
            Some(Some(after)) => (rest, at) = (after, at + 1),
            _ => match star {
                // The star stands for one byte more.
                Some((after, from)) if from < text.len() => {
                    (star, rest, at) = (Some((after, from + 1)), after, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// The bytes with which every match begins.
pub(super) fn literal_prefix(pattern: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::new();
    let mut rest = pattern;
    loop {
        rest = match rest {
            [b'*' | b'?' | b'[', ..] | [] => return prefix,
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                prefix.push(*byte);
                after
            }
        }
    }
}

/// What follows the part of the pattern that this byte matches; `None` if it does not.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', set @ ..] => {
            let (is_in, after) = in_set(set, byte);
            is_in.then_some(after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte).then_some(after),
        [] => None,
    }
}

/// Whether the byte is in the set whose inside begins here, and what follows it. A set that is not closed ends with the pattern.
fn in_set(set: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    loop {
        rest = match rest {
            [] => return (is_in != negated, rest),
            [b']', after @ ..] => return (is_in != negated, after),
            [b'\\', literal, after @ ..] => {
                is_in |= *literal == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                is_in |= *literal == byte;
                after
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a*b*c", "a-b-b-c", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hbllo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("h[\\]]llo", "h]llo", true),
            ("[a", "a", true),
            ("foo\\", "foo\\", true),
            ("***a", "bba", true),
            ("users:*", "users:1", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(2_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    #[test]
    fn a_prefix_ends_where_something_else_can_match() {
        for (pattern, prefix) in
            [("users:*", "users:"), ("a?", "a"), ("\\*a[b]", "*a"), ("plain", "plain"), ("*", "")]
        {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes(), "{pattern}");
        }
    }
}
