//! How replies look in Lua, and Lua's values as replies: <https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion>.

use super::lua_budget::Budget;
use super::reply::Reply;
use bytes::Bytes;
use mlua::{Error, Lua, Value};

/// How deep tables may be nested.
const DEPTH_MAX: usize = 64;

/// Bytes of a script's reply, and of what is beside them in memory.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A reply as a script sees it.
pub(super) fn to_lua(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let one = |name: &str, text: &str| -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.set(name, text)?;
        Ok(Value::Table(table))
    };
    Ok(match reply {
        Reply::Status(text) => one("ok", text)?,
        Reply::Line(text) => one("ok", text)?,
        Reply::Error(text) => one("err", text)?,
        // All of Lua's numbers are floating.
        Reply::Integer(number) => Value::Number(*number as f64),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Text(text) | Reply::Double(text) => Value::String(lua.create_string(text)?),
        Reply::Null | Reply::NullArray => Value::Boolean(false),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) | Reply::Several(items) => {
            sequence(lua, items.iter().map(|item| to_lua(lua, item)))?
        }
        Reply::Fields(fields) => {
            let words = fields.words().into_iter().map(|word| match word {
                Some(word) => lua.create_string(word).map(Value::String),
                None => Ok(Value::Boolean(false)),
            });
            sequence(lua, words)?
        }
        Reply::Map(pairs) => {
            let items = pairs.iter().flat_map(|(name, value)| [name, value]);
            sequence(lua, items.map(|item| to_lua(lua, item)))?
        }
    })
}

/// A table of these. They are stored one by one: Lua's stack, which holds what is not in a table, has room for 8,000.
pub(super) fn sequence(lua: &Lua, items: impl Iterator<Item = mlua::Result<Value>>) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (at, item) in (1_i64..).zip(items) {
        table.raw_set(at, item?)?;
    }
    Ok(Value::Table(table))
}

/// What a script returns, as a reply.
///
/// # Errors
/// It is too deep, or too large.
pub(super) fn from_lua(value: &Value) -> mlua::Result<Reply> {
    at_depth(value, 0, &mut Budget::new(REPLY_BYTES_MAX))
}

fn at_depth(value: &Value, depth: usize, budget: &mut Budget) -> mlua::Result<Reply> {
    budget.take(if let Value::String(text) = value { text.as_bytes().len() } else { 0 })?;
    if depth > DEPTH_MAX {
        return Err(Error::runtime("reached lua stack limit"));
    }
    Ok(match value {
        Value::Boolean(true) => Reply::Integer(1),
        Value::Integer(number) => Reply::Integer(*number),
        // What is behind the point is cut off.
        Value::Number(number) => Reply::Integer(*number as i64),
        Value::String(text) => Reply::Bulk(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Table(table) => {
            if let Value::String(error) = table.raw_get::<Value>("err")? {
                budget.take(error.as_bytes().len())?;
                return Ok(Reply::Error(error.to_string_lossy()));
            }
            if let Value::String(status) = table.raw_get::<Value>("ok")? {
                budget.take(status.as_bytes().len())?;
                return Ok(Reply::Line(status.to_string_lossy()));
            }
            let mut items = Vec::new();
            for index in 1.. {
                match table.raw_get::<Value>(index)? {
                    Value::Nil => break,
                    item => items.push(at_depth(&item, depth + 1, budget)?),
                }
            }
            Reply::Array(items)
        }
        _ => Reply::Null,
    })
}

/// A number as Lua writes it, with 17 digits: whole ones in full.
pub(super) fn number(number: f64) -> String {
    const DIGITS: i32 = 17;
    if number.fract() == 0.0 && number.abs() < 1e17 {
        return format!("{number:.0}");
    }
    if !number.is_finite() {
        let sign = if number.is_sign_negative() { "-" } else { "" };
        return if number.is_nan() { "nan".into() } else { format!("{sign}inf") };
    }
    let text = format!("{number:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        return without_zeros(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_seventeen_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-3.0, "-3"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (0.1, "0.10000000000000001"),
            (1.5, "1.5"),
            (-1234.25, "-1234.25"),
            (1e20, "1e+20"),
            (1.5e-7, "1.4999999999999999e-07"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
