//! Lua's patterns, so that a match ends: it looks every now and then whether it may go on, and nests to a bound. Lua 5.1 has neither; one
//! call of `string.find` can take days there, or all of the stack.
//!
//! It follows `lstrlib.c` of Lua 5.1.5, with the bound of the nesting from 5.2. A pattern ends at its first zero byte, as it does there.

use mlua::Error;

const CAPTURES_MAX: usize = 32;
/// How deep repetitions and captures nest.
const DEPTH_MAX: u32 = 200;
/// Steps between two looks.
const LOOK_STEPS: u32 = 10_000;
/// What begins a class, escapes a character and names a capture.
const ESCAPE: u8 = b'%';

/// A part of the text that a pattern has captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    Part {
        start: usize,
        end: usize,
    },
    /// From `()`: where it was, from 0.
    Position(usize),
}

#[derive(Debug, Clone, Copy)]
enum Extent {
    Open,
    Position,
    Length(usize),
}

#[derive(Debug, Clone, Copy)]
struct Capture {
    start: usize,
    extent: Extent,
}

/// A search in a text. `look` fails if it must not go on.
pub(super) struct Matcher<'a, L> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<Capture>,
    depth: u32,
    steps: u32,
    look: L,
}

/// Where a match ends; `None` if there is none.
type Match = mlua::Result<Option<usize>>;

impl<'a, L: FnMut() -> mlua::Result<()>> Matcher<'a, L> {
    pub fn new(text: &'a [u8], pattern: &'a [u8], look: L) -> Self {
        let pattern = until_zero(pattern);
        Self { text, pattern, captures: Vec::new(), depth: 0, steps: 0, look }
    }

    /// The end of the match that begins there.
    ///
    /// # Errors
    /// The pattern is malformed or nests too deep, or it takes too long.
    pub fn at(&mut self, start: usize) -> Match {
        self.captures.clear();
        self.depth = 0;
        self.matches(start, 0)
    }

    /// The first match that begins there or later: its begin and its end.
    ///
    /// # Errors
    /// As for [`at`](Self::at).
    pub fn from(&mut self, start: usize) -> mlua::Result<Option<(usize, usize)>> {
        for begin in start..=self.text.len() {
            if let Some(end) = self.at(begin)? {
                return Ok(Some((begin, end)));
            }
        }
        Ok(None)
    }

    /// Whether the last match has captured something.
    pub fn has_captures(&self) -> bool {
        !self.captures.is_empty()
    }

    /// What the last match has captured.
    ///
    /// # Errors
    /// A capture has no end.
    pub fn captured(&self) -> mlua::Result<Vec<Captured>> {
        (0..self.captures.len()).map(|number| self.capture(number)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none with this number, or it has no end.
    pub fn capture(&self, number: usize) -> mlua::Result<Captured> {
        let capture = self.captures.get(number).ok_or_else(|| wrong("invalid capture index"))?;
        match capture.extent {
            Extent::Open => Err(wrong("unfinished capture")),
            Extent::Position => Ok(Captured::Position(capture.start)),
            Extent::Length(length) => {
                Ok(Captured::Part { start: capture.start, end: capture.start + length })
            }
        }
    }

    /// The byte of the pattern there; 0 at its end, which it has nowhere else.
    fn byte(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn step(&mut self) -> mlua::Result<()> {
        self.steps += 1;
        if self.steps == LOOK_STEPS {
            self.steps = 0;
            (self.look)()?;
        }
        Ok(())
    }

    /// Matches the pattern from `item` on with the text from `at` on.
    fn matches(&mut self, at: usize, item: usize) -> Match {
        if self.depth == DEPTH_MAX {
            return Err(wrong("pattern too complex"));
        }
        self.depth += 1;
        let end = self.matches_items(at, item);
        self.depth -= 1;
        end
    }

    fn matches_items(&mut self, mut at: usize, mut item: usize) -> Match {
        loop {
            self.step()?;
            match (self.byte(item), self.byte(item + 1)) {
                (0, _) => return Ok(Some(at)),
                (b'(', b')') => return self.open(at, item + 2, Extent::Position),
                (b'(', _) => return self.open(at, item + 1, Extent::Open),
                (b')', _) => return self.close(at, item + 1),
                (b'$', 0) => return Ok((at == self.text.len()).then_some(at)),
                (ESCAPE, b'b') => {
                    let Some(end) = self.balanced(at, item + 2)? else { return Ok(None) };
                    (at, item) = (end, item + 4);
                }
                (ESCAPE, b'f') => {
                    let set = item + 2;
                    if self.byte(set) != b'[' {
                        return Err(wrong("missing '[' after '%f' in pattern"));
                    }
                    let end = self.item_end(set)?;
                    let before = at.checked_sub(1).map_or(0, |before| self.text[before]);
                    let after = self.text.get(at).copied().unwrap_or(0);
                    if self.is_in_set(before, set, end) || !self.is_in_set(after, set, end) {
                        return Ok(None);
                    }
                    item = end;
                }
                (ESCAPE, digit @ b'0'..=b'9') => {
                    let Some(end) = self.repeated(at, digit)? else { return Ok(None) };
                    (at, item) = (end, item + 2);
                }
                _ => {
                    let end = self.item_end(item)?;
                    let is_match = self.is_one(at, item, end);
                    match self.byte(end) {
                        b'?' => {
                            if is_match && let Some(found) = self.matches(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        b'*' => return self.most(at, item, end),
                        b'+' if is_match => return self.most(at + 1, item, end),
                        b'-' => return self.least(at, item, end),
                        b'+' => return Ok(None),
                        _ if is_match => (at, item) = (at + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    /// As many of the item as there are, or as few less as needed.
    fn most(&mut self, at: usize, item: usize, end: usize) -> Match {
        let mut count = 0;
        while self.is_one(at + count, item, end) {
            count += 1;
            self.step()?;
        }
        for count in (0..=count).rev() {
            if let Some(found) = self.matches(at + count, end + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// As few of the item as possible.
    fn least(&mut self, mut at: usize, item: usize, end: usize) -> Match {
        loop {
            if let Some(found) = self.matches(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_one(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, item: usize, extent: Extent) -> Match {
        if self.captures.len() == CAPTURES_MAX {
            return Err(wrong("too many captures"));
        }
        self.captures.push(Capture { start: at, extent });
        let end = self.matches(at, item)?;
        if end.is_none() {
            self.captures.pop();
        }
        Ok(end)
    }

    fn close(&mut self, at: usize, item: usize) -> Match {
        let open = self.captures.iter().rposition(|capture| matches!(capture.extent, Extent::Open));
        let open = open.ok_or_else(|| wrong("invalid pattern capture"))?;
        self.captures[open].extent = Extent::Length(at - self.captures[open].start);
        let end = self.matches(at, item)?;
        if end.is_none() {
            self.captures[open].extent = Extent::Open;
        }
        Ok(end)
    }

    /// What a capture has once more.
    fn repeated(&mut self, at: usize, digit: u8) -> Match {
        let number = usize::from(digit).checked_sub(usize::from(b'1'));
        match number.and_then(|number| self.captures.get(number)).copied() {
            None | Some(Capture { extent: Extent::Open, .. }) => Err(wrong("invalid capture index")),
            Some(Capture { extent: Extent::Position, .. }) => Ok(None),
            Some(Capture { start, extent: Extent::Length(length) }) => {
                let part = &self.text[start..start + length];
                self.steps_for(length)?;
                Ok(self.text[at..].starts_with(part).then_some(at + length))
            }
        }
    }

    /// From one byte to the other that balances it.
    fn balanced(&mut self, at: usize, item: usize) -> Match {
        let (open, close) = (self.byte(item), self.byte(item + 1));
        if open == 0 || close == 0 {
            return Err(wrong("unbalanced pattern"));
        }
        if self.text.get(at) != Some(&open) {
            return Ok(None);
        }
        let (mut depth, mut end) = (1_usize, at + 1);
        while let Some(&byte) = self.text.get(end) {
            self.step()?;
            end += 1;
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(end));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Work that one step stands for.
    fn steps_for(&mut self, bytes: usize) -> mlua::Result<()> {
        const BYTES_A_STEP: usize = 64;
        (0..bytes / BYTES_A_STEP).try_for_each(|_| self.step())
    }

    /// Where the item that begins there ends, without its repetition.
    fn item_end(&self, item: usize) -> mlua::Result<usize> {
        match self.byte(item) {
            ESCAPE if self.byte(item + 1) == 0 => Err(wrong("malformed pattern (ends with '%')")),
            ESCAPE => Ok(item + 2),
            b'[' => {
                let mut at = item + 1;
                if self.byte(at) == b'^' {
                    at += 1;
                }
                // A bracket that comes first is one of the set.
                loop {
                    let byte = self.byte(at);
                    if byte == 0 {
                        return Err(wrong("malformed pattern (missing ']')"));
                    }
                    at += 1;
                    if byte == ESCAPE && self.byte(at) != 0 {
                        at += 1;
                    }
                    if self.byte(at) == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether the byte of the text there is one of the item.
    fn is_one(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(&byte) = self.text.get(at) else { return false };
        match self.byte(item) {
            b'.' => true,
            ESCAPE => is_in_class(byte, self.byte(item + 1)),
            b'[' => self.is_in_set(byte, item, end),
            literal => literal == byte,
        }
    }

    /// `set` is where it begins, and `end` is behind its bracket.
    fn is_in_set(&self, byte: u8, set: usize, end: usize) -> bool {
        let last = end - 1;
        let negated = self.byte(set + 1) == b'^';
        let mut at = if negated { set + 2 } else { set + 1 };
        while at < last {
            let item = self.byte(at);
            if item == ESCAPE {
                if is_in_class(byte, self.byte(at + 1)) {
                    return !negated;
                }
                at += 2;
            } else if self.byte(at + 1) == b'-' && at + 2 < last {
                if (item..=self.byte(at + 2)).contains(&byte) {
                    return !negated;
                }
                at += 3;
            } else {
                if item == byte {
                    return !negated;
                }
                at += 1;
            }
        }
        negated
    }
}

/// What counts of a pattern.
pub(super) fn until_zero(pattern: &[u8]) -> &[u8] {
    memchr::memchr(0, pattern).map_or(pattern, |end| &pattern[..end])
}

/// Whether a pattern has nothing that means more than itself.
pub(super) fn is_literal(pattern: &[u8]) -> bool {
    !until_zero(pattern).iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn is_in_class(byte: u8, class: u8) -> bool {
    let holds = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == b'\x0b',
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    holds != class.is_ascii_uppercase()
}

fn wrong(what: &str) -> Error {
    Error::runtime(what)
}
