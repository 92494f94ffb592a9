//! Scripts in Lua 5.1, as Redis has them: what they can use, for how long, and how their values become replies.

use super::arguments::Arguments;
use super::commands::{Alone, Connection, Kind, find};
use super::lua_values::{from_lua, to_lua};
use super::reply::Reply;
use super::scratch::{Missing, Scratch};
use super::script_store::sha1;
use bytes::Bytes;
use mlua::{Error, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Memory that a script can use, beside what it was given.
const MEMORY_MAX: usize = 32 * 1024 * 1024;
/// How long a script can compute.
const TIME_MAX: Duration = Duration::from_millis(500);
/// How often it is looked whether it computes for too long.
const LOOK_INSTRUCTIONS: u32 = 10_000;
/// What of Lua reaches beyond a script, or loads what Lua does not check.
const REMOVED: [&str; 14] = [
    "collectgarbage",
    "dofile",
    "getfenv",
    "load",
    "loadfile",
    "loadstring",
    "module",
    "newproxy",
    "package",
    "print",
    "require",
    "setfenv",
    "debug",
    "os",
];

/// A script and what it is given.
#[derive(Debug)]
pub(super) struct Script {
    pub text: Bytes,
    /// Its SHA-1.
    pub name: String,
    pub keys: Vec<Bytes>,
    pub arguments: Vec<Bytes>,
    pub database: u8,
    /// It may not write.
    pub only_reads: bool,
}

/// Whether it is a script.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let lua = sandbox().map_err(|error| error.to_string())?;
    lua.load(text)
        .set_name("=user_script")
        .set_mode(mlua::chunk::ChunkMode::Text)
        .into_function()
        .map(drop)
        .map_err(|error| message(&error))
}

/// Carries it out. It computes for as long as it takes, so no task may wait for it on its own thread.
pub(super) fn run(script: &Script, scratch: Scratch) -> (Scratch, Result<Reply, Missing>) {
    let calls = RefCell::new(Calls { script, scratch, missing: None });
    let reply = evaluate(&calls);
    let Calls { scratch, missing, .. } = calls.into_inner();
    // A script that was told something wrong may have gone on all the same.
    match (missing, reply) {
        (Some(missing), _) => (scratch, Err(missing)),
        (None, Ok(reply)) => (scratch, Ok(reply)),
        // What it wrote before it failed is not carried out.
        (None, Err(error)) => (scratch.forget_writes(), Ok(failed(script, &error))),
    }
}

/// What a script's calls work on.
struct Calls<'a> {
    script: &'a Script,
    scratch: Scratch,
    /// What it needed and was not there. From then on it is told nothing.
    missing: Option<Missing>,
}

fn evaluate(calls: &RefCell<Calls>) -> mlua::Result<Reply> {
    let lua = sandbox()?;
    let script = calls.borrow().script;
    let strings = |words: &[Bytes]| {
        let strings = words.iter().map(|word| lua.create_string(word)).collect::<mlua::Result<Vec<_>>>()?;
        lua.create_sequence_from(strings)
    };
    lua.globals().set("KEYS", strings(&script.keys)?)?;
    lua.globals().set("ARGV", strings(&script.arguments)?)?;
    let began = Instant::now();
    lua.set_hook(HookTriggers::new().every_nth_instruction(LOOK_INSTRUCTIONS), move |lua, _| {
        if began.elapsed() < TIME_MAX {
            return Ok(VmState::Continue);
        }
        // Whoever catches this is stopped at the next instruction.
        let at_once = HookTriggers::new().every_nth_instruction(1);
        lua.set_hook(at_once, |_, _| Err(Error::runtime("the script computes for too long")))?;
        Err(Error::runtime("the script computes for too long"))
    })?;
    lua.scope(|scope| {
        let redis = redis(&lua)?;
        let call = scope.create_function(|lua, words: MultiValue| {
            match calls.borrow_mut().call(lua, &words)? {
                Reply::Error(error) => Err(Error::external(Refused(error))),
                reply => to_lua(lua, &reply),
            }
        })?;
        redis.set("call", call)?;
        let pcall = scope
            .create_function(|lua, words: MultiValue| to_lua(lua, &calls.borrow_mut().call(lua, &words)?))?;
        redis.set("pcall", pcall)?;
        lua.globals().set("redis", redis)?;
        protect(&lua)?;
        let value: Value = lua
            .load(&script.text[..])
            .set_name("=user_script")
            .set_mode(mlua::chunk::ChunkMode::Text)
            .eval()?;
        from_lua(&value)
    })
}

impl Calls<'_> {
    /// A command of the script.
    fn call(&mut self, lua: &Lua, words: &MultiValue) -> mlua::Result<Reply> {
        if self.missing.is_some() {
            return Err(Error::runtime("a key is not there yet"));
        }
        let mut list = Vec::with_capacity(words.len());
        for word in words {
            list.push(match word {
                Value::String(text) => Bytes::copy_from_slice(&text.as_bytes()),
                Value::Integer(_) | Value::Number(_) => match lua.coerce_string(word.clone())? {
                    Some(text) => Bytes::copy_from_slice(&text.as_bytes()),
                    None => return Ok(no_word()),
                },
                _ => return Ok(no_word()),
            });
        }
        match self.carry_out(&list) {
            Ok(reply) => Ok(reply),
            Err(missing) => {
                self.missing = Some(missing);
                Err(Error::runtime("a key is not there yet"))
            }
        }
    }

    fn carry_out(&mut self, words: &[Bytes]) -> Result<Reply, Missing> {
        let Some(name) = words.first() else {
            return Ok(Reply::error("ERR Please specify at least one argument for this redis.call() call"));
        };
        let Some(command) = find(name) else {
            return Ok(Reply::error("ERR Unknown Redis command called from script"));
        };
        if !command.takes(words.len()) {
            return Ok(Reply::error("ERR Wrong number of args calling Redis command from script"));
        }
        if command.writes && self.script.only_reads {
            return Ok(Reply::error("ERR Write commands are not allowed from read-only scripts."));
        }
        let arguments = Arguments::new(&words[1..], self.script.database);
        match command.kind {
            Kind::Data(plan) => match plan(arguments) {
                Ok(plan) => self.scratch.carry_out(&plan),
                Err(refused) => Ok(refused),
            },
            Kind::Composite(compose) => match compose(arguments) {
                Ok(composite) => composite.carry_out(&mut self.scratch),
                Err(refused) => Ok(refused),
            },
            Kind::Alone(Alone::Keys) => {
                let wanted = (self.script.database, words[1].clone());
                match self.scratch.listings.get(&wanted) {
                    Some(listing) => Ok(listing.clone()),
                    None => Err(Missing::Listing(wanted.0, wanted.1)),
                }
            }
            Kind::Connection(Connection::Time) => Ok(Reply::time(self.scratch.now_ms())),
            Kind::Connection(Connection::Echo) => Ok(Reply::Bulk(words[1].clone())),
            Kind::Connection(Connection::Ping) => Ok(Reply::Status("PONG")),
            _ => Ok(Reply::error("ERR This Redis command is not allowed from script")),
        }
    }
}

fn no_word() -> Reply {
    Reply::error("ERR Lua redis lib command arguments must be strings or integers")
}

/// An error of a command, which ends the script.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// A script that failed. What a command has said stays in front: clients test for it.
fn failed(script: &Script, error: &Error) -> Reply {
    let name = &script.name;
    let text = message(error);
    match refusal(error) {
        Some(refused) => Reply::error(format!("{refused} script: {name}, on @user_script.")),
        None if matches!(error, Error::SyntaxError { .. }) => {
            Reply::error(format!("ERR Error compiling script (new function): {text}"))
        }
        None => Reply::error(format!("ERR {text} script: {name}, on @user_script.")),
    }
}

fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::CallbackError { cause, .. } => refusal(cause),
        error => error.downcast_ref::<Refused>().map(|refused| refused.0.clone()),
    }
}

/// The first line of an error; the others say where in Lua it was.
fn message(error: &Error) -> String {
    let text = match error {
        Error::CallbackError { cause, .. } => message(cause),
        Error::RuntimeError(text) => text.clone(),
        Error::SyntaxError { message, .. } => message.clone(),
        error => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// Lua with nothing that reaches beyond a script.
fn sandbox() -> mlua::Result<Lua> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
    lua.set_memory_limit(MEMORY_MAX)?;
    for name in REMOVED {
        lua.globals().set(name, Value::Nil)?;
    }
    let strings: Table = lua.globals().get("string")?;
    strings.set("dump", Value::Nil)?;
    bound_patterns(&lua, &strings)?;
    Ok(lua)
}

/// A match is one instruction, however long it takes. So patterns that can take very long are refused.
fn bound_patterns(lua: &Lua, strings: &Table) -> mlua::Result<()> {
    for name in ["find", "match", "gmatch", "gsub"] {
        let inner: mlua::Function = strings.get(name)?;
        let bounded = lua.create_function(move |_, arguments: MultiValue| {
            if let (Some(Value::String(text)), Some(Value::String(pattern))) =
                (arguments.front(), arguments.get(1))
                && is_too_slow(text.as_bytes().len(), &pattern.as_bytes())
            {
                return Err(Error::runtime("the pattern would take too long on so long a text"));
            }
            inner.call::<MultiValue>(arguments)
        })?;
        strings.set(name, bounded)?;
    }
    Ok(())
}

/// Each repetition can be tried for each length of what it matches.
fn is_too_slow(text: usize, pattern: &[u8]) -> bool {
    const STEPS_MAX: f64 = 1e9;
    let repeats = pattern.iter().filter(|byte| matches!(byte, b'*' | b'+' | b'-' | b'?')).count();
    let repeats = i32::try_from(repeats).unwrap_or(i32::MAX);
    (text as f64 + 1.0).powi(repeats.saturating_add(1)) > STEPS_MAX && repeats > 1
}

/// What scripts know as `redis`, but for its calls.
fn redis(lua: &Lua) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    let one = |name: &'static str| {
        lua.create_function(move |lua, text: mlua::LuaString| {
            let table = lua.create_table()?;
            table.set(name, text)?;
            Ok(table)
        })
    };
    redis.set("status_reply", one("ok")?)?;
    redis.set("error_reply", one("err")?)?;
    redis.set("sha1hex", lua.create_function(|_, text: mlua::LuaString| Ok(sha1(&text.as_bytes())))?)?;
    redis.set("log", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    redis.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
    redis.set("set_repl", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    redis.set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
    for (number, name) in ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].into_iter().enumerate() {
        redis.set(name, number)?;
    }
    Ok(redis)
}

/// A script that forgets `local` is told so.
fn protect(lua: &Lua) -> mlua::Result<()> {
    let meta = lua.create_table()?;
    meta.set(
        "__index",
        lua.create_function(|_, (_, name): (Value, Value)| -> mlua::Result<Value> {
            let name = name.to_string().unwrap_or_default();
            Err(Error::runtime(format!("Script attempted to access nonexistent global variable '{name}'")))
        })?,
    )?;
    meta.set(
        "__newindex",
        lua.create_function(|_, (_, _name, _value): (Value, Value, Value)| -> mlua::Result<()> {
            Err(Error::runtime("Attempt to modify a readonly table"))
        })?,
    )?;
    lua.globals().set_metatable(Some(meta))
}
