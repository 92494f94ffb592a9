//! How replies look in Lua, and Lua's values as replies: <https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion>.

use super::reply::Reply;
use bytes::Bytes;
use mlua::{Error, Lua, Value};

/// How deep tables may be nested.
const DEPTH_MAX: usize = 64;

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
        Reply::Text(text) => Value::String(lua.create_string(text)?),
        Reply::Null | Reply::NullArray => Value::Boolean(false),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => sequence(lua, items.iter())?,
        Reply::Fields(fields) => {
            let words = fields.words().into_iter().map(|word| match word {
                Some(word) => lua.create_string(word).map(Value::String),
                None => Ok(Value::Boolean(false)),
            });
            Value::Table(lua.create_sequence_from(words.collect::<mlua::Result<Vec<_>>>()?)?)
        }
        Reply::Map(pairs) => sequence(lua, pairs.iter().flat_map(|(name, value)| [name, value]))?,
    })
}

fn sequence<'a>(lua: &Lua, items: impl Iterator<Item = &'a Reply>) -> mlua::Result<Value> {
    let items = items.map(|item| to_lua(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
    Ok(Value::Table(lua.create_sequence_from(items)?))
}

/// What a script returns, as a reply.
///
/// # Errors
/// It is too deep.
pub(super) fn from_lua(value: &Value) -> mlua::Result<Reply> {
    at_depth(value, 0)
}

fn at_depth(value: &Value, depth: usize) -> mlua::Result<Reply> {
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
                return Ok(Reply::Error(error.to_string_lossy()));
            }
            if let Value::String(status) = table.raw_get::<Value>("ok")? {
                return Ok(Reply::Line(status.to_string_lossy()));
            }
            let mut items = Vec::new();
            for index in 1.. {
                match table.raw_get::<Value>(index)? {
                    Value::Nil => break,
                    item => items.push(at_depth(&item, depth + 1)?),
                }
            }
            Reply::Array(items)
        }
        _ => Reply::Null,
    })
}
