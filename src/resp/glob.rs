//! Patterns of keys: `*` stands for any bytes, `?` for one, `[a-c]` and `[^x]` for one of a set; a backslash takes their meaning away.
//!
//! A match takes time in proportion to the text, whatever the pattern: what stands between two stars is looked for once, where the last part
//! ended, by an algorithm that never goes back. For literals that is `memmem`; for others Shift-And (Baeza-Yates and Gonnet, "A new approach to
//! text searching", 1992), which has a bit for each character of the part and a table for each part. So those have a limit.

use super::reply::Reply;
use memchr::memmem;

/// Bytes of a pattern.
const BYTES_MAX: usize = 16 * 1024;
/// Parts between two stars that have `?` or `[` in them: 2 KiB each.
const WILD_PARTS_MAX: usize = 16;
/// Characters of such a part.
const WILD_LENGTH_MAX: usize = 64;

/// A pattern, ready to be compared with texts.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// As it was written.
    source: Box<[u8]>,
    /// What the text begins with: all of it, if there is no star.
    head: Vec<One>,
    /// What stands behind the first star.
    rest: Option<Rest>,
}

#[derive(Debug, Clone)]
struct Rest {
    /// What stands between two stars.
    middle: Vec<Part>,
    /// What the text ends with.
    tail: Vec<One>,
}

/// What one byte of the text must be.
#[derive(Debug, Clone)]
enum One {
    Byte(u8),
    Any,
    /// A bit for each byte.
    Set(Box<[u64; 4]>),
}

/// What has to be somewhere in the text.
#[derive(Debug, Clone)]
enum Part {
    Literal(Box<[u8]>),
    /// For each byte, the places of the part at which it can stand; and the bit of the last place.
    Wild {
        places: Box<[u64; 256]>,
        last: u64,
    },
}

impl Pattern {
    /// # Errors
    /// If comparing with it could take long.
    pub fn parse(pattern: &[u8]) -> Result<Self, Reply> {
        if pattern.len() > BYTES_MAX {
            return Err(Reply::error(format!("ERR a pattern has at most {BYTES_MAX} bytes")));
        }
        let source = pattern.into();
        let mut parts = parts(pattern).into_iter();
        let head = parts.next().unwrap_or_default();
        let Some(tail) = parts.next_back() else { return Ok(Self { source, head, rest: None }) };
        let middle: Vec<Vec<One>> = parts.filter(|part| !part.is_empty()).collect();
        let wild = middle.iter().filter(|part| literal(part).is_none());
        let lengths: Vec<usize> = wild.map(Vec::len).collect();
        if lengths.len() > WILD_PARTS_MAX || lengths.iter().any(|length| *length > WILD_LENGTH_MAX) {
            return Err(Reply::error(format!(
                "ERR a pattern has at most {WILD_PARTS_MAX} parts with ? or [ between two *, of at most {WILD_LENGTH_MAX} characters"
            )));
        }
        let middle = middle.iter().map(|part| Part::new(part)).collect();
        Ok(Self { source, head, rest: Some(Rest { middle, tail }) })
    }

    /// Whether the text matches the pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some((head, mut text)) = text.split_at_checked(self.head.len()) else { return false };
        if !all_match(&self.head, head) {
            return false;
        }
        let Some(Rest { middle, tail }) = &self.rest else { return text.is_empty() };
        for part in middle {
            match part.end_in(text) {
                Some(end) => text = &text[end..],
                None => return false,
            }
        }
        text.len().checked_sub(tail.len()).is_some_and(|at| all_match(tail, &text[at..]))
    }

    /// About how many bytes it takes.
    pub fn held_bytes(&self) -> usize {
        const WILD_BYTES: usize = size_of::<[u64; 256]>();
        let ones = |ones: &[One]| ones.iter().map(One::held_bytes).sum::<usize>();
        let part = |part: &Part| {
            size_of::<Part>()
                + match part {
                    Part::Literal(literal) => literal.len(),
                    Part::Wild { .. } => WILD_BYTES,
                }
        };
        let rest = self.rest.as_ref();
        self.source.len()
            + ones(&self.head)
            + rest.map_or(0, |rest| rest.middle.iter().map(part).sum::<usize>() + ones(&rest.tail))
    }

    /// The bytes with which every match begins.
    pub fn literal_prefix(&self) -> Vec<u8> {
        self.head.iter().map_while(One::byte).collect()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

/// What stands before, between and behind the stars.
fn parts(mut pattern: &[u8]) -> Vec<Vec<One>> {
    let mut parts = vec![Vec::new()];
    while let [first, after @ ..] = pattern {
        let one;
        (one, pattern) = match (first, after) {
            (b'*', _) => {
                parts.push(Vec::new());
                pattern = after;
                continue;
            }
            (b'?', _) => (One::Any, after),
            (b'[', _) => set(after),
            (b'\\', [literal, after @ ..]) => (One::Byte(*literal), after),
            _ => (One::Byte(*first), after),
        };
        parts.last_mut().expect("there is one at least").push(one);
    }
    parts
}

/// The set whose inside begins here, and what follows it. A set that is not closed ends with the pattern.
fn set(inside: &[u8]) -> (One, &[u8]) {
    let (is_negated, mut rest) = match inside {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut bits = [0_u64; 4];
    let mut add = |byte: u8| bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
    let rest = loop {
        rest = match rest {
            [] => break rest,
            [b']', after @ ..] => break after,
            [b'\\', literal, after @ ..] => {
                add(*literal);
                after
            }
            [from, b'-', to, after @ ..] => {
                (*from.min(to)..=*from.max(to)).for_each(&mut add);
                after
            }
            [literal, after @ ..] => {
                add(*literal);
                after
            }
        }
    };
    if is_negated {
        bits = bits.map(|word| !word);
    }
    (One::Set(Box::new(bits)), rest)
}

impl One {
    fn has(&self, byte: u8) -> bool {
        match self {
            One::Byte(literal) => *literal == byte,
            One::Any => true,
            One::Set(bits) => bits[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
        }
    }

    fn held_bytes(&self) -> usize {
        let set = if matches!(self, One::Set(_)) { size_of::<[u64; 4]>() } else { 0 };
        size_of::<Self>() + set
    }

    /// The only byte that it can be.
    fn byte(&self) -> Option<u8> {
        match self {
            One::Byte(byte) => Some(*byte),
            One::Any | One::Set(_) => None,
        }
    }
}

/// The bytes of a part without `?` and `[`.
fn literal(part: &[One]) -> Option<Vec<u8>> {
    part.iter().map(One::byte).collect()
}

fn all_match(ones: &[One], text: &[u8]) -> bool {
    ones.iter().zip(text).all(|(one, byte)| one.has(*byte))
}

impl Part {
    fn new(part: &[One]) -> Self {
        if let Some(literal) = literal(part) {
            return Self::Literal(literal.into());
        }
        let mut places = Box::new([0; 256]);
        for (byte, places) in (0..=u8::MAX).zip(places.iter_mut()) {
            let fitting = part.iter().enumerate().filter(|(_, one)| one.has(byte));
            *places = fitting.fold(0, |bits, (place, _)| bits | 1 << place);
        }
        Self::Wild { places, last: 1 << (part.len() - 1) }
    }

    /// Where the first match in a text ends.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Literal(literal) => memmem::find(text, literal).map(|at| at + literal.len()),
            Self::Wild { places, last } => {
                // The places at which a match that is still possible has arrived.
                let mut arrived = 0;
                let at = text.iter().position(|byte| {
                    arrived = (arrived << 1 | 1) & places[usize::from(*byte)];
                    arrived & last != 0
                });
                at.map(|at| at + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(pattern: &str) -> Pattern {
        Pattern::parse(pattern.as_bytes()).unwrap()
    }

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
            assert_eq!(parsed(pattern).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// Tries everything that a star can stand for.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', after @ ..], _) => (0..=text.len()).any(|from| naive(after, &text[from..])),
            (_, []) => false,
            ([b'?', after @ ..], [_, rest @ ..]) => naive(after, rest),
            ([b'[', inside @ ..], [byte, rest @ ..]) => {
                let (set, after) = set(inside);
                set.has(*byte) && naive(after, rest)
            }
            ([b'\\', literal, after @ ..] | [literal, after @ ..], [byte, rest @ ..]) => {
                literal == byte && naive(after, rest)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_looked_for_once_is_found_as_if_all_were_tried(pattern in "[ab*?^\\\\\\[\\]-]{0,12}", text in "[ab^-]{0,12}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern::parse(pattern).unwrap().matches(text), naive(pattern, text));
        }
    }

    /// The longest keys, and patterns that fit nearly everywhere, tried ten thousand times: a page of `KEYS`. Compared with a plain search in
    /// the same text, because this has to hold on any machine.
    #[test]
    fn no_pattern_takes_long() {
        let text = "a".repeat(4_096);
        let timed = |work: &dyn Fn() -> bool| {
            let begun = std::time::Instant::now();
            (0..100).for_each(|_| assert!(!std::hint::black_box(work())));
            begun.elapsed()
        };
        let plain = timed(&|| text.bytes().filter(|byte| std::hint::black_box(*byte) == b'c').count() > 0);
        let literal = format!("*{}b*", "a".repeat(2_048));
        let wild = format!("*{}b*", "?".repeat(63));
        let stars = "a*".repeat(2_000) + "b*";
        let sets = "*a?".repeat(16) + "?b*";
        for pattern in [&literal, &wild, &stars, &sets] {
            let parsed = parsed(pattern);
            let took = timed(&|| parsed.matches(std::hint::black_box(text.as_bytes())));
            assert!(took < plain * 100, "{took:?}, and {plain:?} for a plain search: {pattern:.20}");
        }
    }

    #[test]
    fn a_pattern_that_could_take_long_is_refused() {
        let longest = format!("*{}*", "?".repeat(64));
        for (pattern, is_taken) in [
            (longest.clone(), true),
            (longest.replace("*?", "*??"), false),
            ("*?".repeat(16) + "*", true),
            ("*?".repeat(17) + "*", false),
            ("?".repeat(4_096), true),
            ("a".repeat(BYTES_MAX), true),
            ("a".repeat(BYTES_MAX + 1), false),
        ] {
            assert_eq!(Pattern::parse(pattern.as_bytes()).is_ok(), is_taken, "{pattern:.20}");
        }
    }

    #[test]
    fn a_prefix_ends_where_something_else_can_match() {
        for (pattern, prefix) in
            [("users:*", "users:"), ("a?", "a"), ("\\*a[b]", "*a"), ("plain", "plain"), ("*", "")]
        {
            assert_eq!(parsed(pattern).literal_prefix(), prefix.as_bytes(), "{pattern}");
        }
    }
}
