//! What scripts can use of Lua, and the libraries that Redis gives them. Each script has an interpreter of its own, so none changes what
//! the next one sees.

use super::allowance::{computed, look};
use super::info::REDIS_VERSION;
use super::lua_budget::MEMORY_MAX;
use super::lua_json::json;
use super::lua_msgpack::msgpack;
use super::lua_strings::set_searches;
use super::script_store::sha1;
use mlua::chunk::ChunkMode;
use mlua::{Error, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value};

/// Bytes of a script, or of what it loads. What Lua takes to read it grows with the square of the branches of an `if`, and nothing ends that.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// What of Lua reaches beyond a script, or loads what Lua does not check.
const REMOVED: [&str; 14] = [
    "collectgarbage",
    // Lua does not look in them whether the script computes for too long.
    "coroutine",
    "debug",
    "dofile",
    "getfenv",
    "load",
    "loadfile",
    "module",
    "newproxy",
    "os",
    "package",
    "print",
    "require",
    "setfenv",
];

/// Lua with nothing that reaches beyond a script.
pub(super) fn sandbox() -> mlua::Result<Lua> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
    lua.set_memory_limit(MEMORY_MAX)?;
    let globals = lua.globals();
    for name in REMOVED {
        globals.set(name, Value::Nil)?;
    }
    let strings: Table = globals.get("string")?;
    strings.set("dump", Value::Nil)?;
    set_searches(&lua, &strings)?;
    // Text only: Lua does not check what was compiled elsewhere.
    let load = |lua: &Lua, (text, name): (LuaString, Option<String>)| {
        look(lua)?;
        let (text, name) = (text.as_bytes(), name.unwrap_or_else(|| "=(load)".into()));
        let read = || lua.load(&text[..]).set_mode(ChunkMode::Text).set_name(name).into_function();
        match check_length(&text).and_then(|()| read()) {
            Ok(function) => Ok((Value::Function(function), None)),
            Err(error) => Ok((Value::Nil, Some(error.to_string()))),
        }
    };
    globals.set("loadstring", lua.create_function(load)?)?;
    globals.set("redis", redis(&lua)?)?;
    globals.set("cjson", json(&lua)?)?;
    globals.set("cmsgpack", msgpack(&lua)?)?;
    globals.set("bit", bits(&lua)?)?;
    let clock = lua.create_table()?;
    let began = computed();
    clock.set(
        "clock",
        lua.create_function(move |_, ()| Ok(computed().saturating_sub(began).as_secs_f64()))?,
    )?;
    globals.set("os", clock)?;
    Ok(lua)
}

/// Whether Lua may read a text.
///
/// # Errors
/// It is too long.
pub(super) fn check_length(text: &[u8]) -> mlua::Result<()> {
    match text.len() {
        ..=TEXT_BYTES_MAX => Ok(()),
        _ => Err(Error::runtime("a script has at most 256 KiB")),
    }
}

/// What a reply is that a script has given no text.
const NO_TEXT: &str = "ERR wrong number or type of arguments";

/// The argument, if it is the only one, and a text.
fn only_text(words: &MultiValue) -> Option<LuaString> {
    words.front().filter(|_| words.len() == 1).and_then(Value::as_string).cloned()
}

/// What scripts know as `redis`, but for its calls.
fn redis(lua: &Lua) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    let status = |lua: &Lua, words: MultiValue| match only_text(&words) {
        Some(text) => one(lua, "ok", text),
        None => one(lua, "err", lua.create_string(NO_TEXT)?),
    };
    redis.set("status_reply", lua.create_function(status)?)?;
    let error = |lua: &Lua, words: MultiValue| {
        let Some(text) = only_text(&words) else { return one(lua, "err", lua.create_string(NO_TEXT)?) };
        let text = text.to_string_lossy();
        let text = text.strip_prefix('-').unwrap_or(&text);
        let text =
            if text.is_empty() || !text.contains(' ') { format!("ERR {text}") } else { text.to_owned() };
        one(lua, "err", lua.create_string(text)?)
    };
    redis.set("error_reply", lua.create_function(error)?)?;
    let hash = |lua: &Lua, words: MultiValue| {
        look(lua)?;
        match words.front() {
            Some(Value::String(text)) if words.len() == 1 => Ok(sha1(&text.as_bytes())),
            Some(Value::Integer(number)) if words.len() == 1 => Ok(sha1(number.to_string().as_bytes())),
            _ => Err(Error::runtime("wrong number of arguments")),
        }
    };
    redis.set("sha1hex", lua.create_function(hash)?)?;
    redis.set("log", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    redis.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
    redis.set("set_repl", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    redis.set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
    for (number, name) in ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].into_iter().enumerate() {
        redis.set(name, number)?;
    }
    // What `set_repl` takes.
    for (number, name) in
        [(0, "REPL_NONE"), (1, "REPL_AOF"), (2, "REPL_REPLICA"), (2, "REPL_SLAVE"), (3, "REPL_ALL")]
    {
        redis.set(name, number)?;
    }
    redis.set("REDIS_VERSION", REDIS_VERSION)?;
    redis.set("REDIS_VERSION_NUM", version_number(REDIS_VERSION))?;
    Ok(redis)
}

/// A byte for each part of a version: 7.4.1 is 0x00070401.
fn version_number(version: &str) -> u32 {
    version.split('.').fold(0, |number, part| number << 8 | part.parse::<u32>().unwrap_or(0))
}

fn one(lua: &Lua, name: &str, text: LuaString) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set(name, text)?;
    Ok(table)
}

/// Operations on 32 bits, as in Lua BitOp.
fn bits(lua: &Lua) -> mlua::Result<Table> {
    let bits = lua.create_table()?;
    let fold = |step: fn(i32, i32) -> i32| {
        lua.create_function(move |_, numbers: mlua::Variadic<f64>| {
            let mut numbers = numbers.iter().map(|number| word(*number));
            let first = numbers.next().ok_or_else(|| Error::runtime("a number is missing"))?;
            Ok(numbers.fold(first, step))
        })
    };
    bits.set("band", fold(|left, right| left & right)?)?;
    bits.set("bor", fold(|left, right| left | right)?)?;
    bits.set("bxor", fold(|left, right| left ^ right)?)?;
    bits.set("tobit", lua.create_function(|_, number: f64| Ok(word(number)))?)?;
    bits.set("bnot", lua.create_function(|_, number: f64| Ok(!word(number)))?)?;
    bits.set("bswap", lua.create_function(|_, number: f64| Ok(word(number).swap_bytes()))?)?;
    let shift = |step: fn(i32, u32) -> i32| {
        lua.create_function(move |_, (number, by): (f64, f64)| Ok(step(word(number), word(by) as u32 & 31)))
    };
    bits.set("lshift", shift(|number, by| ((number as u32) << by) as i32)?)?;
    bits.set("rshift", shift(|number, by| ((number as u32) >> by) as i32)?)?;
    bits.set("arshift", shift(|number, by| number >> by)?)?;
    bits.set("rol", shift(i32::rotate_left)?)?;
    bits.set("ror", shift(i32::rotate_right)?)?;
    let hex = |_: &Lua, (number, digits): (f64, Option<i32>)| {
        let digits = digits.unwrap_or(8);
        let text = format!("{:08x}", word(number));
        let kept = text[8 - digits.unsigned_abs().min(8) as usize..].to_owned();
        Ok(if digits < 0 { kept.to_ascii_uppercase() } else { kept })
    };
    bits.set("tohex", lua.create_function(hex)?)?;
    Ok(bits)
}

/// The low 32 bits of a number.
fn word(number: f64) -> i32 {
    const WORD: f64 = 4_294_967_296.0;
    number.round_ties_even().rem_euclid(WORD) as u32 as i32
}
