//! Numbers as Redis reads them: in the one form that it would write.

/// A 64-bit number without a `+`, leading zeros, spaces or `-0`.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(number.to_string().as_bytes()), Some(number));
        }
        for text in ["", "-", "+5", "007", "-0", "-01", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "１"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
    }
}
