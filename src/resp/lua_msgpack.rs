//! MessagePack for scripts, as Redis gives it to them: `cmsgpack.pack`, `unpack`, `unpack_one` and `unpack_limit`.

use super::allowance::look;
use mlua::{Error, Lua, LuaString, MultiValue, Table, Value};

/// How deep tables are packed; what is deeper becomes nil. So a table can be in itself.
const PACKED_DEPTH_MAX: usize = 16;
/// How deep what is read may be nested.
const DEPTH_MAX: usize = 128;
/// Bytes that are made or read: more than any value can have.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The table `cmsgpack`.
pub(super) fn msgpack(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let pack = |lua: &Lua, values: MultiValue| {
        look(lua)?;
        if values.is_empty() {
            return Err(Error::runtime("MessagePack pack needs input."));
        }
        let mut out = Vec::new();
        values.iter().try_for_each(|value| write(value, 0, &mut out))?;
        lua.create_string(out)
    };
    library.set("pack", lua.create_function(pack)?)?;
    let unpack = |lua: &Lua, text: LuaString| {
        let (_, values) = read_several(lua, &text, usize::MAX, 0)?;
        Ok(values)
    };
    library.set("unpack", lua.create_function(unpack)?)?;
    let unpack_one = |lua: &Lua, (text, offset): (LuaString, Option<f64>)| {
        with_offset(read_several(lua, &text, 1, offset_of(offset)?)?)
    };
    library.set("unpack_one", lua.create_function(unpack_one)?)?;
    let unpack_limit = |lua: &Lua, (text, limit, offset): (LuaString, f64, Option<f64>)| {
        // A limit of 0 is none. With that, only who names an offset is told where it ended.
        let (limit, names_offset) =
            if limit < 1.0 { (usize::MAX, offset.is_some()) } else { (limit as usize, true) };
        let read = read_several(lua, &text, limit, offset_of(offset)?)?;
        if names_offset { with_offset(read) } else { Ok(read.1) }
    };
    library.set("unpack_limit", lua.create_function(unpack_limit)?)?;
    Ok(library)
}

fn offset_of(offset: Option<f64>) -> mlua::Result<usize> {
    match offset.unwrap_or(0.0) {
        offset if offset >= 0.0 => Ok(offset as usize),
        offset => Err(Error::runtime(format!("Invalid request to unpack with offset of {offset}."))),
    }
}

/// Where what follows begins, or -1, and then the values.
fn with_offset((offset, mut values): (f64, MultiValue)) -> mlua::Result<MultiValue> {
    values.push_front(Value::Number(offset));
    Ok(values)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::Boolean(holds) => out.push(if *holds { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => write_whole(*number, out),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < i64::MAX as f64 => {
            write_whole(*number as i64, out);
        }
        Value::Number(number) if f64::from(*number as f32) == *number => {
            out.push(0xca);
            out.extend((*number as f32).to_be_bytes());
        }
        Value::Number(number) => {
            out.push(0xcb);
            out.extend(number.to_be_bytes());
        }
        Value::String(text) => {
            let text = text.as_bytes();
            match u8::try_from(text.len()) {
                Ok(count) if count < 32 => out.push(0xa0 | count),
                Ok(count) => out.extend([0xd9, count]),
                Err(_) => write_count(text.len(), 0xda, out),
            }
            out.extend_from_slice(&text);
        }
        Value::Table(table) if depth < PACKED_DEPTH_MAX => write_table(table, depth, out)?,
        _ => out.push(0xc0),
    }
    // Every value has a byte at least, so this bounds the time as well.
    if out.len() > BYTES_MAX {
        return Err(Error::runtime("too much to pack"));
    }
    Ok(())
}

fn write_whole(number: i64, out: &mut Vec<u8>) {
    match number {
        -32..=127 => out.push(number as u8),
        128..=0xff => out.extend([0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(number.to_be_bytes());
        }
        -128..-32 => out.extend([0xd0, number as u8]),
        -0x8000..-128 => {
            out.push(0xd1);
            out.extend((number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend((number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(number.to_be_bytes());
        }
    }
}

/// A count of 16 bits, or with the next kind of 32 bits.
fn write_count(count: usize, kind: u8, out: &mut Vec<u8>) {
    match u16::try_from(count) {
        Ok(count) => {
            out.push(kind);
            out.extend(count.to_be_bytes());
        }
        Err(_) => {
            out.push(kind + 1);
            // Nothing that fits into a script's memory has more.
            out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// An array, if its keys are the positions from 1 on without a gap.
fn write_table(table: &Table, depth: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    let (mut count, mut last, mut are_positions) = (0_usize, 0_usize, true);
    for pair in table.pairs::<Value, Value>() {
        let position = match pair?.0 {
            Value::Integer(position) => usize::try_from(position).unwrap_or(0),
            Value::Number(position) if position.fract() == 0.0 && position >= 1.0 => position as usize,
            _ => 0,
        };
        are_positions &= position > 0;
        last = last.max(position);
        count += 1;
    }
    let is_array = are_positions && last == count;
    let (short, long) = if is_array { (0x90, 0xdc) } else { (0x80, 0xde) };
    match u8::try_from(count) {
        Ok(count) if count < 16 => out.push(short | count),
        _ => write_count(count, long, out),
    }
    if is_array {
        return (1..=count).try_for_each(|position| write(&table.raw_get(position)?, depth + 1, out));
    }
    table.pairs::<Value, Value>().try_for_each(|pair| {
        let (name, value) = pair?;
        write(&name, depth + 1, out)?;
        write(&value, depth + 1, out)
    })
}

/// Up to so many values, and where what follows begins, or -1 if nothing does.
fn read_several(lua: &Lua, text: &LuaString, limit: usize, offset: usize) -> mlua::Result<(f64, MultiValue)> {
    look(lua)?;
    // What is returned lies on Lua's stack.
    const VALUES_MAX: usize = 4_096;
    let text = text.as_bytes();
    if text.len() > BYTES_MAX {
        return Err(Error::runtime("the text is too large to unpack"));
    }
    if offset > text.len() {
        return Err(Error::runtime(format!(
            "Start offset {offset} greater than input length {}.",
            text.len()
        )));
    }
    let mut rest = &text[offset..];
    let mut values = MultiValue::new();
    while !rest.is_empty() && values.len() < limit {
        if values.len() == VALUES_MAX {
            return Err(Error::runtime("too many values to unpack"));
        }
        values.push_back(read(lua, &mut rest, 0)?);
    }
    let next = if rest.is_empty() { -1.0 } else { (text.len() - rest.len()) as f64 };
    Ok((next, values))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> mlua::Result<&'a [u8]> {
    let (taken, left) =
        rest.split_at_checked(count).ok_or_else(|| Error::runtime("Missing bytes in input."))?;
    *rest = left;
    Ok(taken)
}

/// A number of so many bytes, the highest first.
fn take_number(rest: &mut &[u8], bytes: usize) -> mlua::Result<u64> {
    Ok(take(rest, bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn take_count(rest: &mut &[u8], bytes: usize) -> mlua::Result<usize> {
    // More than there are bytes is told where they end.
    Ok(usize::try_from(take_number(rest, bytes)?).unwrap_or(usize::MAX))
}

fn read(lua: &Lua, rest: &mut &[u8], depth: usize) -> mlua::Result<Value> {
    if depth > DEPTH_MAX {
        return Err(Error::runtime("the text is nested too deep to unpack"));
    }
    let kind = take(rest, 1)?[0];
    let text = |rest: &mut &[u8], count| lua.create_string(take(rest, count)?).map(Value::String);
    let whole = |number: i64| Value::Number(number as f64);
    Ok(match kind {
        0x00..=0x7f => Value::Number(kind.into()),
        0xe0..=0xff => whole((kind as i8).into()),
        0xc0 => Value::Nil,
        0xc2 => Value::Boolean(false),
        0xc3 => Value::Boolean(true),
        0xca => Value::Number(f32::from_bits(take_number(rest, 4)? as u32).into()),
        0xcb => Value::Number(f64::from_bits(take_number(rest, 8)?)),
        0xcc..=0xcf => Value::Number(take_number(rest, 1 << (kind - 0xcc))? as f64),
        0xd0 => whole((take_number(rest, 1)? as i8).into()),
        0xd1 => whole((take_number(rest, 2)? as i16).into()),
        0xd2 => whole((take_number(rest, 4)? as i32).into()),
        0xd3 => whole(take_number(rest, 8)? as i64),
        0xa0..=0xbf => text(rest, usize::from(kind & 0x1f))?,
        0xd9..=0xdb => {
            let count = take_count(rest, 1 << (kind - 0xd9))?;
            text(rest, count)?
        }
        0x90..=0x9f => read_array(lua, rest, usize::from(kind & 0xf), depth)?,
        0xdc | 0xdd => {
            let count = take_count(rest, 2 << (kind - 0xdc))?;
            read_array(lua, rest, count, depth)?
        }
        0x80..=0x8f => read_map(lua, rest, usize::from(kind & 0xf), depth)?,
        0xde | 0xdf => {
            let count = take_count(rest, 2 << (kind - 0xde))?;
            read_map(lua, rest, count, depth)?
        }
        _ => return Err(Error::runtime("Bad data format in input.")),
    })
}

fn read_array(lua: &Lua, rest: &mut &[u8], count: usize, depth: usize) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for position in 1..=count {
        table.raw_set(position, read(lua, rest, depth + 1)?)?;
    }
    Ok(Value::Table(table))
}

fn read_map(lua: &Lua, rest: &mut &[u8], count: usize, depth: usize) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for _ in 0..count {
        let (name, value) = (read(lua, rest, depth + 1)?, read(lua, rest, depth + 1)?);
        // Lua has no such keys.
        if matches!(name, Value::Nil) || matches!(name, Value::Number(number) if number.is_nan()) {
            return Err(Error::runtime("Bad data format in input."));
        }
        table.raw_set(name, value)?;
    }
    Ok(Value::Table(table))
}
