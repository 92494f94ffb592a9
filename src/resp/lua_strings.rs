//! The functions of Lua that search by pattern, as scripts have them: `string.find`, `match`, `gmatch` and `gsub`.

use super::allowance::look;
use super::lua_budget::MEMORY_MAX;
use super::lua_pattern::{Captured, Matcher, is_literal};
use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value};
use std::cell::Cell;

/// How deep `gsub` nests in what it calls. Lua itself would go to 200, which takes more stack than the threads of scripts have.
const NESTED_MAX: usize = 32;

/// Replaces those of Lua.
pub(super) fn set_searches(lua: &Lua, strings: &Table) -> mlua::Result<()> {
    strings.set("find", lua.create_function(|lua, words| search(lua, &words, "find"))?)?;
    strings.set("match", lua.create_function(|lua, words| search(lua, &words, "match"))?)?;
    let each = lua.create_function(gmatch)?;
    strings.set("gmatch", &each)?;
    // As it was called before Lua 5.1.
    strings.set("gfind", each)?;
    let depth = Cell::new(0);
    let replace_all = move |lua: &Lua, words: MultiValue| {
        if depth.get() == NESTED_MAX {
            return Err(Error::runtime("C stack overflow"));
        }
        depth.set(depth.get() + 1);
        let made = gsub(lua, &words);
        depth.set(depth.get() - 1);
        made
    };
    strings.set("gsub", lua.create_function(replace_all)?)?;
    Ok(())
}

/// `find` tells where, `match` what.
fn search(lua: &Lua, words: &MultiValue, name: &str) -> mlua::Result<MultiValue> {
    look(lua)?;
    let (text, pattern) = (text_of(lua, words, 0, name)?, text_of(lua, words, 1, name)?);
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (text, pattern) = (&text[..], &pattern[..]);
    let start = start_of(number_of(lua, words, 2, name)?.unwrap_or(1), text.len());
    let tells_place = name == "find";
    let is_plain = words.get(3).is_some_and(|plain| !matches!(plain, Value::Nil | Value::Boolean(false)));
    if tells_place && (is_plain || is_literal(pattern)) {
        let found = memchr::memmem::find(&text[start..], pattern).map(|at| start + at);
        return Ok(match found {
            Some(at) => place(at, at + pattern.len()),
            None => MultiValue::from_iter([Value::Nil]),
        });
    }
    let (anchored, pattern) = anchor(pattern);
    let mut matcher = Matcher::new(text, pattern, || look(lua));
    let found = match anchored {
        true => matcher.at(start)?.map(|end| (start, end)),
        false => matcher.from(start)?,
    };
    let Some((begin, end)) = found else { return Ok(MultiValue::from_iter([Value::Nil])) };
    let captured = matcher.captured()?;
    if !tells_place {
        return values(lua, text, &or_all(captured, begin, end));
    }
    let mut told = place(begin, end);
    told.extend(values(lua, text, &captured)?);
    Ok(told)
}

/// An iterator over all matches.
fn gmatch(lua: &Lua, words: MultiValue) -> mlua::Result<Function> {
    let (text, pattern) = (text_of(lua, &words, 0, "gmatch")?, text_of(lua, &words, 1, "gmatch")?);
    let mut next = 0;
    lua.create_function_mut(move |lua, _: MultiValue| {
        look(lua)?;
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        let (text, pattern) = (&text[..], &pattern[..]);
        let mut matcher = Matcher::new(text, pattern, || look(lua));
        let Some((begin, end)) = matcher.from(next)? else {
            next = text.len() + 1;
            return Ok(MultiValue::from_iter([Value::Nil]));
        };
        // An empty match is not found once more.
        next = if end == begin { end + 1 } else { end };
        values(lua, text, &or_all(matcher.captured()?, begin, end))
    })
}

/// The text with its matches replaced, and how many there were.
fn gsub(lua: &Lua, words: &MultiValue) -> mlua::Result<(LuaString, usize)> {
    look(lua)?;
    let (text, pattern) = (text_of(lua, words, 0, "gsub")?, text_of(lua, words, 1, "gsub")?);
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (text, pattern) = (&text[..], &pattern[..]);
    let by = match words.get(2) {
        Some(by @ (Value::String(_) | Value::Table(_) | Value::Function(_))) => by.clone(),
        Some(Value::Integer(_) | Value::Number(_)) => Value::String(text_of(lua, words, 2, "gsub")?),
        _ => return Err(bad_argument(2, "gsub", "string/function/table expected")),
    };
    let max = number_of(lua, words, 3, "gsub")?.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(0));
    let (anchored, pattern) = anchor(pattern);
    let mut matcher = Matcher::new(text, pattern, || look(lua));
    let (mut made, mut at, mut count) = (Made::new(lua), 0, 0);
    while count < max {
        let end = matcher.at(at)?;
        if let Some(end) = end {
            count += 1;
            look(lua)?;
            replace(lua, &by, text, &matcher, (at, end), &mut made)?;
        }
        match end.filter(|end| *end > at) {
            Some(end) => at = end,
            None => {
                let Some(byte) = text.get(at..=at) else { break };
                made.add(byte)?;
                at += 1;
            }
        }
        if anchored {
            break;
        }
    }
    made.add(&text[at..])?;
    Ok((lua.create_string(made.bytes)?, count))
}

/// What `gsub` makes.
struct Made {
    bytes: Vec<u8>,
    room: usize,
}

impl Made {
    fn new(lua: &Lua) -> Self {
        // For what has no room, Lua has none either.
        Self { bytes: Vec::new(), room: MEMORY_MAX.saturating_sub(lua.used_memory()) }
    }

    fn add(&mut self, bytes: &[u8]) -> mlua::Result<()> {
        if self.bytes.len() + bytes.len() > self.room {
            return Err(Error::runtime("not enough memory"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Adds what stands in place of a match.
fn replace<L: FnMut() -> mlua::Result<()>>(
    lua: &Lua,
    by: &Value,
    text: &[u8],
    matcher: &Matcher<'_, L>,
    (begin, end): (usize, usize),
    made: &mut Made,
) -> mlua::Result<()> {
    let value = match by {
        Value::String(template) => {
            return fill(&template.as_bytes(), text, matcher, (begin, end), made);
        }
        Value::Function(function) => {
            let captured = or_all(matcher.captured()?, begin, end);
            function.call(values(lua, text, &captured)?)?
        }
        Value::Table(table) => table.get(value(lua, text, first_or_all(matcher, begin, end)?)?)?,
        _ => Value::Nil,
    };
    match value {
        Value::Nil | Value::Boolean(false) => made.add(&text[begin..end]),
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            made.add(&text_from(lua, value)?.as_bytes())
        }
        other => Err(Error::runtime(format!("invalid replacement value (a {})", other.type_name()))),
    }
}

/// Adds a template with what its `%0` to `%9` name.
fn fill<L: FnMut() -> mlua::Result<()>>(
    template: &[u8],
    text: &[u8],
    matcher: &Matcher<'_, L>,
    (begin, end): (usize, usize),
    made: &mut Made,
) -> mlua::Result<()> {
    let mut bytes = template.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            made.add(&[byte])?;
            continue;
        }
        // Behind the last one there is a zero byte, as there is in C.
        let captured = match bytes.next().unwrap_or(0) {
            b'0' => Captured::Part { start: begin, end },
            b'1' => first_or_all(matcher, begin, end)?,
            digit @ b'2'..=b'9' => matcher.capture(usize::from(digit - b'1'))?,
            other => {
                made.add(&[other])?;
                continue;
            }
        };
        match captured {
            Captured::Part { start, end } => made.add(&text[start..end])?,
            Captured::Position(at) => made.add((at + 1).to_string().as_bytes())?,
        }
    }
    Ok(())
}

/// A pattern without its beginning `^`, and whether it had one.
fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    pattern.strip_prefix(b"^").map_or((false, pattern), |rest| (true, rest))
}

/// Without captures, the whole match is one.
fn or_all(captured: Vec<Captured>, start: usize, end: usize) -> Vec<Captured> {
    if captured.is_empty() { vec![Captured::Part { start, end }] } else { captured }
}

fn first_or_all<L: FnMut() -> mlua::Result<()>>(
    matcher: &Matcher<'_, L>,
    start: usize,
    end: usize,
) -> mlua::Result<Captured> {
    if matcher.has_captures() { matcher.capture(0) } else { Ok(Captured::Part { start, end }) }
}

fn values(lua: &Lua, text: &[u8], captured: &[Captured]) -> mlua::Result<MultiValue> {
    captured.iter().map(|captured| value(lua, text, *captured)).collect()
}

fn value(lua: &Lua, text: &[u8], captured: Captured) -> mlua::Result<Value> {
    Ok(match captured {
        Captured::Part { start, end } => Value::String(lua.create_string(&text[start..end])?),
        Captured::Position(at) => position(at + 1),
    })
}

fn place(begin: usize, end: usize) -> MultiValue {
    MultiValue::from_iter([position(begin + 1), position(end)])
}

/// Texts have less than 64 MiB.
fn position(at: usize) -> Value {
    Value::Number(at as f64)
}

/// Where a search begins, from 0. Positions count from 1, or from the end if they are negative.
fn start_of(position: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let position = if position < 0 { position.saturating_add(length + 1) } else { position };
    (position - 1).clamp(0, length) as usize
}

fn text_of(lua: &Lua, words: &MultiValue, at: usize, name: &str) -> mlua::Result<LuaString> {
    match words.get(at) {
        Some(value @ (Value::String(_) | Value::Integer(_) | Value::Number(_))) => {
            text_from(lua, value.clone())
        }
        other => Err(expected(at, name, "string", other)),
    }
}

/// A text, or a number as one.
fn text_from(lua: &Lua, value: Value) -> mlua::Result<LuaString> {
    lua.coerce_string(value)?.ok_or_else(|| Error::runtime("a text is expected"))
}

fn number_of(lua: &Lua, words: &MultiValue, at: usize, name: &str) -> mlua::Result<Option<i64>> {
    match words.get(at) {
        None | Some(Value::Nil) => Ok(None),
        Some(value) => match lua.coerce_number(value.clone())? {
            Some(number) => Ok(Some(number as i64)),
            None => Err(expected(at, name, "number", Some(value))),
        },
    }
}

fn expected(at: usize, name: &str, kind: &str, got: Option<&Value>) -> Error {
    let got = got.map_or("no value", Value::type_name);
    bad_argument(at, name, &format!("{kind} expected, got {got}"))
}

fn bad_argument(at: usize, name: &str, why: &str) -> Error {
    Error::runtime(format!("bad argument #{} to '{name}' ({why})", at + 1))
}

#[cfg(test)]
#[path = "lua_strings_test.rs"]
mod tests;
