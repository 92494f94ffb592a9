//! Scripts in Lua 5.1, as Redis has them: how they are carried out, and how they fail.

use super::allowance::{Allowance, Refused, look};
use super::arguments::Arguments;
use super::channels::Channels;
use super::commands::{Alone, Connection, Kind, find};
use super::glob::Pattern;
use super::key::DATABASES;
use super::lua_budget::Budget;
use super::lua_sandbox::{check_length, sandbox};
use super::lua_values::{from_lua, number, sequence, to_lua};
use super::number::parse_i64;
use super::reply::Reply;
use super::scratch::{Missing, Scratch};
use super::whole::with_own;
use crate::cache::Key;
use bytes::Bytes;
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, MultiValue, Table, Value, VmState};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// How long a script can compute, or all of a transaction.
pub(super) const TIME_MAX: Duration = Duration::from_millis(500);
/// How often it is looked whether it computes for too long. One instruction can join texts of many megabytes, or call what does: so many of them
/// take a second or two.
const LOOK_INSTRUCTIONS: u32 = 100;
/// How deep in the stack the line of a script is looked for.
const LEVELS_MAX: usize = 32;
/// Bytes of one command of a script, and of what is beside them in memory: what a client can send at once.
const CALL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// As what errors name a script.
const SOURCE: &str = "user_script";

/// A script and what it is given.
#[derive(Debug)]
pub(super) struct Script {
    pub text: Bytes,
    /// Its SHA-1.
    pub name: String,
    pub keys: Vec<Bytes>,
    /// The names of the keys.
    pub names: Vec<Key>,
    pub arguments: Vec<Bytes>,
    pub database: u8,
    /// It may not write.
    pub only_reads: bool,
    /// What the clients of this node are subscribed to.
    pub channels: Arc<Channels>,
}

/// Whether it is a script.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(text: &Bytes) -> Result<(), String> {
    let (_, text) = flags(text)?;
    let compiled = sandbox().and_then(|lua| compile(&lua, &text).map(drop));
    compiled.map_err(|error| format!("Error compiling script (new function): {}", message(&error)))
}

/// How a script ended.
pub(super) enum Ran {
    Done(Reply),
    /// It failed. What it wrote before is not carried out.
    Failed(Reply),
    /// It needs more.
    Missing(Missing),
}

/// Carries it out. It computes for as long as it may, so no task may wait for it on its own thread.
pub(super) fn run(script: &Script, scratch: Scratch, allowance: Allowance) -> (Scratch, Ran) {
    let (only_reads, text) = match flags(&script.text) {
        Ok((only_reads, text)) => (only_reads || script.only_reads, text),
        Err(wrong) => return (scratch, Ran::Failed(Reply::error(format!("ERR {wrong}")))),
    };
    let channels = &script.channels;
    let calls = Calls { database: script.database, only_reads, scratch, channels, missing: None };
    let calls = RefCell::new(calls);
    let done = evaluate(script, &text, &calls, allowance).unwrap_or_else(|error| Err(Failure::of(&error)));
    let Calls { scratch, missing, .. } = calls.into_inner();
    // A script that was told something wrong may have gone on all the same.
    let ran = match (missing, done) {
        (Some(missing), _) => Ran::Missing(missing),
        (None, Ok(reply)) => Ran::Done(reply),
        (None, Err(failure)) => Ran::Failed(failure.reply(script)),
    };
    (scratch, ran)
}

/// What a script's first line can say of it. All but the first are about what Lockstep does not have.
const FLAGS: [&str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

/// Whether a script says in its first line that it only reads, as `#!lua flags=no-writes`, and the rest of it. The first line becomes empty, so
/// that lines keep their numbers.
fn flags(text: &Bytes) -> Result<(bool, Bytes), String> {
    if !text.starts_with(b"#!") {
        return Ok((false, text.clone()));
    }
    let end = text.iter().position(|byte| *byte == b'\n').ok_or("Invalid script shebang")?;
    let first = String::from_utf8_lossy(&text[2..end]);
    let mut words = first.split_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "lua" {
        return Err(format!("Unexpected engine in script shebang: {engine}"));
    }
    let mut only_reads = false;
    for word in words {
        let flags =
            word.strip_prefix("flags=").ok_or_else(|| format!("Unknown lua shebang option: {word}"))?;
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            if !FLAGS.contains(&flag) {
                return Err(format!("Unexpected flag in script shebang: {flag}"));
            }
            only_reads |= flag == FLAGS[0];
        }
    }
    Ok((only_reads, text.slice(end..)))
}

/// What a script's calls work on.
struct Calls<'a> {
    database: u8,
    only_reads: bool,
    scratch: Scratch,
    channels: &'a Channels,
    /// What it needed and was not there. From then on it is told nothing.
    missing: Option<Missing>,
}

fn compile(lua: &Lua, text: &[u8]) -> mlua::Result<Function> {
    check_length(text)?;
    lua.load(text).set_name(format!("={SOURCE}")).set_mode(ChunkMode::Text).into_function()
}

fn evaluate(
    script: &Script,
    text: &[u8],
    calls: &RefCell<Calls>,
    allowance: Allowance,
) -> mlua::Result<Result<Reply, Failure>> {
    allowance.check()?;
    let lua = sandbox()?;
    lua.set_app_data(allowance);
    let strings =
        |words: &[Bytes]| sequence(&lua, words.iter().map(|word| lua.create_string(word).map(Value::String)));
    lua.globals().set("KEYS", strings(&script.keys)?)?;
    lua.globals().set("ARGV", strings(&script.arguments)?)?;
    let attempt: Function = lua.globals().get("xpcall")?;
    lua.set_hook(HookTriggers::new().every_nth_instruction(LOOK_INSTRUCTIONS), move |lua, _| {
        let Err(ended) = allowance.check() else { return Ok(VmState::Continue) };
        // Whoever catches this is stopped at the next instruction.
        let at_once = HookTriggers::new().every_nth_instruction(1);
        let again = ended.clone();
        lua.set_hook(at_once, move |_, _| Err(again.clone()))?;
        Err(ended)
    })?;
    lua.scope(|scope| {
        let redis: Table = lua.globals().get("redis")?;
        let call = |lua: &Lua, words: MultiValue| {
            look(lua)?;
            match calls.borrow_mut().ask(&words)? {
                Reply::Error(error) => Err(Error::external(Refused(error))),
                reply => to_lua(lua, &reply),
            }
        };
        redis.set("call", scope.create_function(call)?)?;
        let pcall = |lua: &Lua, words: MultiValue| {
            look(lua)?;
            to_lua(lua, &calls.borrow_mut().ask(&words)?)
        };
        redis.set("pcall", scope.create_function(pcall)?)?;
        let plain = lua.create_function(plain)?;
        lua.load(include_str!("prelude.lua")).set_name("=prelude").call::<()>(plain)?;
        let script = compile(&lua, text)?;
        let place = lua.create_function(|lua, error: Value| {
            let table = lua.create_table()?;
            table.raw_set("error", error)?;
            table.raw_set("line", line(lua))?;
            Ok(table)
        })?;
        let (is_fine, value): (bool, Value) = attempt.call((script, place))?;
        match is_fine {
            true => from_lua(&value).map(Ok),
            false => Ok(Err(Failure::at(&value))),
        }
    })
}

/// An error as scripts know it: that of a command is a table, and others are texts.
fn plain(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let Value::Error(inner) = &error else { return Ok(error) };
    match refusal(inner) {
        Some(refused) => to_lua(lua, &Reply::Error(refused)),
        None => Ok(Value::String(lua.create_string(message(inner))?)),
    }
}

fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::CallbackError { cause, .. } => refusal(cause),
        error => error.downcast_ref::<Refused>().map(|refused| refused.0.clone()),
    }
}

/// Which line of the script is being carried out.
fn line(lua: &Lua) -> Option<usize> {
    (0..LEVELS_MAX).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let is_script = frame.source().short_src.is_some_and(|source| source == SOURCE);
            frame.current_line().filter(|_| is_script)
        })?
    })
}

impl Calls<'_> {
    /// A command of the script.
    fn ask(&mut self, words: &MultiValue) -> mlua::Result<Reply> {
        if self.missing.is_some() {
            return Err(Error::runtime("a key is not there yet"));
        }
        let mut list = Vec::with_capacity(words.len());
        let mut budget = Budget::new(CALL_BYTES_MAX);
        for word in words {
            budget.take(if let Value::String(text) = word { text.as_bytes().len() } else { 0 })?;
            list.push(match word {
                Value::String(text) => Bytes::copy_from_slice(&text.as_bytes()),
                Value::Integer(whole) => whole.to_string().into(),
                Value::Number(fraction) => number(*fraction).into(),
                _ => {
                    return Ok(Reply::error(
                        "ERR Lua redis lib command arguments must be strings or integers",
                    ));
                }
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
        if command.writes && self.only_reads {
            return Ok(Reply::error("ERR Write commands are not allowed from read-only scripts."));
        }
        let arguments = Arguments::new(&words[1..], self.database);
        match command.kind {
            Kind::Data(plan) => match plan(arguments) {
                Ok(plan) => self.scratch.carry_out(&plan.counted(self.channels)),
                Err(refused) => Ok(refused),
            },
            Kind::Composite(compose) => match compose(arguments) {
                Ok(composite) => composite.carry_out(&mut self.scratch),
                Err(refused) => Ok(refused),
            },
            Kind::Alone(Alone::Keys) => {
                let wanted = (self.database, words[1].clone());
                let pattern = match Pattern::parse(&wanted.1) {
                    Ok(pattern) => pattern,
                    Err(refused) => return Ok(refused),
                };
                match self.scratch.listings.get(&wanted) {
                    Some(listing) => {
                        let keys = with_own(wanted.0, &pattern, listing.keys.clone(), &self.scratch.own());
                        Ok(Reply::Array(keys.into_keys().map(|key| Reply::Bulk(key.into())).collect()))
                    }
                    None => Err(Missing::Listing(wanted.0, wanted.1)),
                }
            }
            Kind::Connection(Connection::Time) => Ok(Reply::time(self.scratch.now_ms())),
            Kind::Connection(Connection::Select) => {
                let number = parse_i64(&words[1]).and_then(|number| u8::try_from(number).ok());
                Ok(match number.filter(|number| *number < DATABASES) {
                    Some(number) => {
                        // For the rest of the script only.
                        self.database = number;
                        Reply::OK
                    }
                    None => Reply::error("ERR DB index is out of range"),
                })
            }
            Kind::Connection(Connection::Echo) => Ok(Reply::Bulk(words[1].clone())),
            Kind::Connection(Connection::Ping) => Ok(Reply::Status("PONG")),
            _ => Ok(Reply::error("ERR This Redis command is not allowed from script")),
        }
    }
}

/// Why a script ended.
struct Failure {
    text: String,
    line: Option<usize>,
    /// It was never begun.
    is_unreadable: bool,
}

impl Failure {
    /// From where a script ended.
    fn at(value: &Value) -> Self {
        let table = value.as_table();
        let error =
            table.and_then(|table| table.raw_get::<Value>("error").ok()).unwrap_or_else(|| value.clone());
        let line = table.and_then(|table| table.raw_get::<Option<usize>>("line").ok()).flatten();
        // What a command has said stays in front: clients test for it.
        let text = match &error {
            Value::Table(table) => of_command(table).unwrap_or_else(|| "ERR the error is a table".into()),
            Value::String(text) => format!("ERR {}", text.to_string_lossy()),
            Value::Error(error) => refusal(error).unwrap_or_else(|| format!("ERR {}", message(error))),
            _ => "ERR the error is no text".into(),
        };
        Self { text, line, is_unreadable: false }
    }

    fn of(error: &Error) -> Self {
        let is_unreadable = matches!(error, Error::SyntaxError { .. });
        let text = message(error);
        let text = if is_unreadable { text } else { format!("ERR {text}") };
        Self { text, line: None, is_unreadable }
    }

    fn reply(self, script: &Script) -> Reply {
        let Self { text, line, is_unreadable } = self;
        if is_unreadable {
            return Reply::error(format!("ERR Error compiling script (new function): {text}"));
        }
        let text = if text.contains(' ') { text } else { format!("ERR {text}") };
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        Reply::error(format!("{text} script: {}, on @{SOURCE}{line}.", script.name))
    }
}

fn of_command(error: &Table) -> Option<String> {
    Some(error.raw_get::<Option<mlua::LuaString>>("err").ok()??.to_string_lossy())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_not_read() {
        let text = |bytes: usize| Bytes::from(" ".repeat(bytes));
        assert_eq!(check(&text(262_144)), Ok(()));
        assert!(check(&text(262_145)).unwrap_err().ends_with("a script has at most 256 KiB"));
    }
}
