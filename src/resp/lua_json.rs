//! JSON for scripts: `cjson.encode` and `cjson.decode`, and their settings, which hold for the script that makes them.

use super::allowance::look;
use super::lua_budget::Budget;
use super::lua_values::sequence;
use mlua::{Error, LightUserData, Lua, LuaString, MultiValue, Table, Value};
use serde_json::{Map, Number, Value as Json};
use std::cell::RefCell;
use std::rc::Rc;

/// How deep values may be nested.
const DEPTH_MAX: usize = 128;
/// Bytes of a JSON text that is made or read: more than any value can have.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much longer than its entries a list may be, if some of them are missing.
const SPARSE: i64 = 8_192;

/// What a script has set.
struct Settings {
    encoded_depth: usize,
    decoded_depth: usize,
    /// Numbers that JSON does not have become null.
    takes_any_number: bool,
    /// A list that lacks too many entries becomes an object.
    takes_any_list: bool,
}

/// The table `cjson`.
pub(super) fn json(lua: &Lua) -> mlua::Result<Table> {
    let json = lua.create_table()?;
    let settings = Settings {
        encoded_depth: DEPTH_MAX,
        decoded_depth: DEPTH_MAX,
        takes_any_number: false,
        takes_any_list: false,
    };
    let settings = Rc::new(RefCell::new(settings));
    let shared = Rc::clone(&settings);
    let encode = move |lua: &Lua, value: Value| {
        look(lua)?;
        let mut encoder = Encoder { settings: &shared.borrow(), budget: Budget::new(JSON_BYTES_MAX) };
        let text = serde_json::to_string(&encoder.value(&value, 0)?).map_err(Error::runtime)?;
        lua.create_string(text)
    };
    json.set("encode", lua.create_function(encode)?)?;
    let shared = Rc::clone(&settings);
    let decode = move |lua: &Lua, text: LuaString| {
        look(lua)?;
        if text.as_bytes().len() > JSON_BYTES_MAX {
            return Err(Error::runtime("the JSON text is too large"));
        }
        let json = serde_json::from_slice(&text.as_bytes()).map_err(Error::runtime)?;
        from_json(lua, &json, shared.borrow().decoded_depth)
    };
    json.set("decode", lua.create_function(decode)?)?;
    set_settings(lua, &json, &settings)?;
    json.set("null", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    Ok(json)
}

/// The functions that change a setting. Each answers what holds from now on.
fn set_settings(lua: &Lua, json: &Table, settings: &Rc<RefCell<Settings>>) -> mlua::Result<()> {
    let depth = |set: fn(&mut Settings) -> &mut usize| {
        let shared = Rc::clone(settings);
        lua.create_function(move |_, depth: Option<f64>| {
            let mut settings = shared.borrow_mut();
            match depth {
                Some(depth) if depth >= 1.0 => *set(&mut settings) = (depth as usize).min(DEPTH_MAX),
                Some(_) => return Err(Error::runtime("expected integer of at least 1")),
                None => {}
            }
            Ok(*set(&mut settings))
        })
    };
    json.set("encode_max_depth", depth(|settings| &mut settings.encoded_depth)?)?;
    json.set("decode_max_depth", depth(|settings| &mut settings.decoded_depth)?)?;
    let switch = |set: fn(&mut Settings) -> &mut bool| {
        let shared = Rc::clone(settings);
        lua.create_function(move |_, arguments: MultiValue| {
            let mut settings = shared.borrow_mut();
            if let Some(value) = arguments.front() {
                *set(&mut settings) = !matches!(value, Value::Nil | Value::Boolean(false));
            }
            Ok(*set(&mut settings))
        })
    };
    json.set("encode_invalid_numbers", switch(|settings| &mut settings.takes_any_number)?)?;
    json.set("encode_sparse_array", switch(|settings| &mut settings.takes_any_list)?)?;
    // There is no buffer to keep: it is told what it has set.
    json.set("encode_keep_buffer", lua.create_function(|_, keep: Option<bool>| Ok(keep.unwrap_or(true)))?)
}

/// What makes JSON of a value.
struct Encoder<'a> {
    settings: &'a Settings,
    budget: Budget,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<Json> {
        self.budget.take(if let Value::String(text) = value { text.as_bytes().len() } else { 0 })?;
        if depth > self.settings.encoded_depth {
            return Err(Error::runtime("Cannot serialise, excessive depth"));
        }
        Ok(match value {
            Value::Nil | Value::LightUserData(_) => Json::Null,
            Value::Boolean(holds) => Json::Bool(*holds),
            Value::Integer(number) => Json::Number((*number).into()),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Json::Number((*number as i64).into())
            }
            Value::Number(number) if !number.is_finite() && self.settings.takes_any_number => Json::Null,
            Value::Number(number) => Json::Number(
                Number::from_f64(*number)
                    .ok_or_else(|| Error::runtime("Cannot serialise number: must not be NaN or Inf"))?,
            ),
            Value::String(text) => Json::String(text.to_string_lossy()),
            Value::Table(table) => self.table(table, depth)?,
            other => {
                return Err(Error::runtime(format!(
                    "Cannot serialise {}: type not supported",
                    other.type_name()
                )));
            }
        })
    }

    /// A list, if all of its keys are positions, and it has any.
    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<Json> {
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
        let is_sparse = is_list && last > count.saturating_add(SPARSE);
        if is_sparse && !self.settings.takes_any_list {
            return Err(Error::runtime("Cannot serialise table: excessively sparse array"));
        }
        if is_list && count > 0 && !is_sparse {
            let items = (1..=last).map(|position| self.value(&table.raw_get::<Value>(position)?, depth + 1));
            return Ok(Json::Array(items.collect::<mlua::Result<_>>()?));
        }
        let mut fields = Map::new();
        for pair in table.pairs::<Value, Value>() {
            let (name, value) = pair?;
            let name = match name {
                Value::String(name) => name.to_string_lossy(),
                Value::Integer(name) => name.to_string(),
                Value::Number(name) => super::lua_values::number(name),
                _ => {
                    return Err(Error::runtime(
                        "Cannot serialise table: table key must be a number or string",
                    ));
                }
            };
            self.budget.take(name.len())?;
            fields.insert(name, self.value(&value, depth + 1)?);
        }
        Ok(Json::Object(fields))
    }
}

/// `depth` is how deep it may be nested.
fn from_json(lua: &Lua, json: &Json, depth: usize) -> mlua::Result<Value> {
    let inner = |item: &Json| match depth.checked_sub(1) {
        Some(left) => from_json(lua, item, left),
        None => Err(Error::runtime("Found too many nested data structures")),
    };
    Ok(match json {
        Json::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
        Json::Bool(holds) => Value::Boolean(*holds),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(0.0)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => sequence(lua, items.iter().map(inner))?,
        Json::Object(fields) => {
            let table = lua.create_table()?;
            for (name, value) in fields {
                table.raw_set(name.as_str(), inner(value)?)?;
            }
            Value::Table(table)
        }
    })
}
