//! JSON for scripts: `cjson.encode` and `cjson.decode`.

use super::lua_budget::Budget;
use super::lua_values::sequence;
use mlua::{Error, LightUserData, Lua, LuaString, Table, Value};
use serde_json::{Map, Number, Value as Json};

/// How deep values may be nested.
const DEPTH_MAX: usize = 128;
/// Bytes of a JSON text that is made or read: more than any value can have.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much longer than its entries a list may be, if some of them are missing.
const SPARSE: i64 = 8_192;

/// The table `cjson`.
pub(super) fn json(lua: &Lua) -> mlua::Result<Table> {
    let json = lua.create_table()?;
    let encode = |lua: &Lua, value: Value| {
        let text = serde_json::to_string(&to_json(&value, 0, &mut Budget::new(JSON_BYTES_MAX))?)
            .map_err(Error::runtime)?;
        lua.create_string(text)
    };
    json.set("encode", lua.create_function(encode)?)?;
    let decode = |lua: &Lua, text: LuaString| {
        if text.as_bytes().len() > JSON_BYTES_MAX {
            return Err(Error::runtime("the JSON text is too large"));
        }
        let json = serde_json::from_slice(&text.as_bytes()).map_err(Error::runtime)?;
        from_json(lua, &json)
    };
    json.set("decode", lua.create_function(decode)?)?;
    json.set("null", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    Ok(json)
}

fn to_json(value: &Value, depth: usize, budget: &mut Budget) -> mlua::Result<Json> {
    budget.take(if let Value::String(text) = value { text.as_bytes().len() } else { 0 })?;
    if depth > DEPTH_MAX {
        return Err(Error::runtime("Cannot serialise, excessive depth"));
    }
    Ok(match value {
        Value::Nil | Value::LightUserData(_) => Json::Null,
        Value::Boolean(holds) => Json::Bool(*holds),
        Value::Integer(number) => Json::Number((*number).into()),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Json::Number((*number as i64).into())
        }
        Value::Number(number) => Json::Number(
            Number::from_f64(*number)
                .ok_or_else(|| Error::runtime("Cannot serialise number: must not be NaN or Inf"))?,
        ),
        Value::String(text) => Json::String(text.to_string_lossy()),
        Value::Table(table) => table_to_json(table, depth, budget)?,
        other => {
            return Err(Error::runtime(format!(
                "Cannot serialise {}: type not supported",
                other.type_name()
            )));
        }
    })
}

/// A list, if all of its keys are positions, and it has any.
fn table_to_json(table: &Table, depth: usize, budget: &mut Budget) -> mlua::Result<Json> {
    let (mut count, mut last, mut is_list) = (0i64, 0, true);
    for pair in table.pairs::<Value, Value>() {
        let position = match pair?.0 {
            Value::Integer(position) => Some(position),
            Value::Number(position) if position.fract() == 0.0 => Some(position as i64),
            _ => None,
        };
        match position.filter(|position| *position >= 1) {
            Some(position) => last = last.max(position),
            None => is_list = false,
        }
        count += 1;
    }
    if is_list && count > 0 {
        if last > count + SPARSE {
            return Err(Error::runtime("Cannot serialise table: excessively sparse array"));
        }
        let items = (1..=last).map(|position| to_json(&table.raw_get::<Value>(position)?, depth + 1, budget));
        return Ok(Json::Array(items.collect::<mlua::Result<_>>()?));
    }
    let mut fields = Map::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let name = match name {
            Value::String(name) => name.to_string_lossy(),
            Value::Integer(name) => name.to_string(),
            Value::Number(name) => super::lua_values::number(name),
            _ => return Err(Error::runtime("Cannot serialise table: table key must be a number or string")),
        };
        budget.take(name.len())?;
        fields.insert(name, to_json(&value, depth + 1, budget)?);
    }
    Ok(Json::Object(fields))
}

fn from_json(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
        Json::Bool(holds) => Value::Boolean(*holds),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(0.0)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => sequence(lua, items.iter().map(|item| from_json(lua, item)))?,
        Json::Object(fields) => {
            let table = lua.create_table()?;
            for (name, value) in fields {
                table.raw_set(name.as_str(), from_json(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}
