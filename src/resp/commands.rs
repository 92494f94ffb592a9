//! The commands, by name.

use super::arguments::Arguments;
use super::composite::{self, Composite};
use super::plan::Plan;
use super::reply::Reply;
use super::{hashes, increx, keys, push_commands, strings};

/// A command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command {
    pub name: &'static str,
    /// With its name; a negative number is the least.
    pub arity: i32,
    /// Whether it may change data.
    pub writes: bool,
    pub keys: Keys,
    pub kind: Kind,
}

/// Where a command's keys are among its words: the first, the last (-1 is the last word), and from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    pub first: i64,
    pub last: i64,
    pub step: i64,
}

impl Keys {
    const NONE: Self = Self { first: 0, last: 0, step: 0 };
    const ONE: Self = Self { first: 1, last: 1, step: 1 };
    const TWO: Self = Self { first: 1, last: 2, step: 1 };
    const ALL: Self = Self { first: 1, last: -1, step: 1 };
    const PAIRS: Self = Self { first: 1, last: -1, step: 2 };

    /// The positions of the keys in so many words.
    pub fn positions(self, words: usize) -> impl Iterator<Item = usize> {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        let last = if self.last < 0 { words + self.last } else { self.last.min(words - 1) };
        let step = usize::try_from(self.step).unwrap_or(1).max(1);
        let last = if self.step == 0 { -1 } else { last };
        (self.first..=last).step_by(step).filter_map(|at| usize::try_from(at).ok())
    }
}

/// What a command is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Data: it becomes a plan, and several in a row are carried out together.
    Data(fn(Arguments) -> Result<Plan, Reply>),
    /// Data, too: it decides by several keys what it writes.
    Composite(fn(Arguments) -> Result<Composite, Reply>),
    /// The connection itself; its reply is known at once.
    Connection(Connection),
    /// It is carried out by itself, after what came before it.
    Alone(Alone),
}

/// Commands about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    Ping,
    Echo,
    Quit,
    Select,
    Client,
    Command,
    Config,
    Time,
    Role,
    /// `OK`, and nothing else: reads are linearizable on every node.
    Accepted,
    Wait,
    WaitAof,
    Multi,
    Discard,
    Unwatch,
    Acl,
    Function,
    Script,
    SlowLog,
    PubSub,
}

/// Commands that are carried out alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Hello,
    Auth,
    Reset,
    /// What Redis has no command for.
    Lockstep,
    Sentinel,
    Exec,
    Watch,
    Eval,
    Subscribe,
    Tracking,
    Frequency,
    Scan,
    Keys,
    RandomKey,
    DbSize,
    FlushDb,
    FlushAll,
    Info,
}

impl Connection {
    /// Whether it changes what others see of the client.
    pub fn shows(self) -> bool {
        matches!(self, Self::Client | Self::Select | Self::Multi | Self::Discard)
    }

    /// Whether it is carried out at once in a transaction, too: it is about the transaction, or ends the connection.
    pub fn ends_transaction(self) -> bool {
        matches!(self, Self::Multi | Self::Discard | Self::Quit)
    }
}

impl Alone {
    /// Whether it can stand between `MULTI` and `EXEC`.
    pub fn is_in_transactions(self) -> bool {
        matches!(self, Self::Exec | Self::Watch | Self::Reset)
    }
}

impl Command {
    /// Whether it can have so many words, its name included.
    pub fn takes(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= arity } else { words == arity }
    }
}

/// The command of this name, in capital letters or not.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    const LONGEST: usize = 32;
    if name.len() > LONGEST {
        return None;
    }
    let mut lower = [0; LONGEST];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let at = ALL.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    ALL.get(at)
}

type Planner = fn(Arguments) -> Result<Plan, Reply>;

const fn read(name: &'static str, arity: i32, keys: Keys, plan: Planner) -> Command {
    Command { name, arity, writes: false, keys, kind: Kind::Data(plan) }
}

const fn write(name: &'static str, arity: i32, keys: Keys, plan: Planner) -> Command {
    Command { name, arity, writes: true, keys, kind: Kind::Data(plan) }
}

const fn connection(name: &'static str, arity: i32, kind: Connection) -> Command {
    Command { name, arity, writes: false, keys: Keys::NONE, kind: Kind::Connection(kind) }
}

const fn alone(name: &'static str, arity: i32, kind: Alone) -> Command {
    Command { name, arity, writes: false, keys: Keys::NONE, kind: Kind::Alone(kind) }
}

const fn composite(
    name: &'static str,
    arity: i32,
    keys: Keys,
    compose: fn(Arguments) -> Result<Composite, Reply>,
) -> Command {
    Command { name, arity, writes: true, keys, kind: Kind::Composite(compose) }
}

/// One that is carried out alone and changes keys.
const fn changes(name: &'static str, arity: i32, keys: Keys, kind: Alone) -> Command {
    Command { name, arity, writes: true, keys, kind: Kind::Alone(kind) }
}

/// In the order of their names.
pub(super) const ALL: &[Command] = &[
    connection("acl", -2, Connection::Acl),
    write("append", 3, Keys::ONE, strings::append),
    alone("auth", -2, Alone::Auth),
    connection("client", -2, Connection::Client),
    connection("command", -1, Connection::Command),
    connection("config", -2, Connection::Config),
    composite("copy", -3, Keys::TWO, composite::copy),
    alone("dbsize", 1, Alone::DbSize),
    write("decr", 2, Keys::ONE, strings::decr),
    write("decrby", 3, Keys::ONE, strings::decrby),
    write("del", -2, Keys::ALL, keys::del),
    write("delex", -2, Keys::ONE, strings::delex),
    write("delifeq", 3, Keys::ONE, strings::delifeq),
    read("digest", 2, Keys::ONE, strings::digest),
    connection("discard", 1, Connection::Discard),
    connection("echo", 2, Connection::Echo),
    changes("eval", -3, Keys::NONE, Alone::Eval),
    alone("eval_ro", -3, Alone::Eval),
    changes("evalsha", -3, Keys::NONE, Alone::Eval),
    alone("evalsha_ro", -3, Alone::Eval),
    alone("exec", 1, Alone::Exec),
    read("exists", -2, Keys::ALL, keys::exists),
    write("expire", -3, Keys::ONE, keys::expire),
    write("expireat", -3, Keys::ONE, keys::expireat),
    read("expiretime", 2, Keys::ONE, keys::expiretime),
    changes("flushall", -1, Keys::NONE, Alone::FlushAll),
    changes("flushdb", -1, Keys::NONE, Alone::FlushDb),
    connection("function", -2, Connection::Function),
    read("get", 2, Keys::ONE, strings::get),
    write("getdel", 2, Keys::ONE, strings::getdel),
    write("getex", -2, Keys::ONE, strings::getex),
    read("getrange", 4, Keys::ONE, strings::getrange),
    write("getset", 3, Keys::ONE, strings::getset),
    write("hdel", -3, Keys::ONE, hashes::hdel),
    alone("hello", -1, Alone::Hello),
    read("hexists", 3, Keys::ONE, hashes::hexists),
    read("hget", 3, Keys::ONE, hashes::hget),
    read("hgetall", 2, Keys::ONE, hashes::hgetall),
    write("hincrby", 4, Keys::ONE, hashes::hincrby),
    write("hincrbyfloat", 4, Keys::ONE, hashes::hincrbyfloat),
    read("hkeys", 2, Keys::ONE, hashes::hkeys),
    read("hlen", 2, Keys::ONE, hashes::hlen),
    read("hmget", -3, Keys::ONE, hashes::hmget),
    write("hmset", -4, Keys::ONE, hashes::hmset),
    read("hrandfield", -2, Keys::ONE, hashes::hrandfield),
    read("hscan", -3, Keys::ONE, hashes::hscan),
    write("hset", -4, Keys::ONE, hashes::hset),
    write("hsetnx", 4, Keys::ONE, hashes::hsetnx),
    read("hstrlen", 3, Keys::ONE, hashes::hstrlen),
    read("hvals", 2, Keys::ONE, hashes::hvals),
    write("incr", 2, Keys::ONE, strings::incr),
    write("incrby", 3, Keys::ONE, strings::incrby),
    write("incrbyfloat", 3, Keys::ONE, strings::incrbyfloat),
    write("increx", -2, Keys::ONE, increx::increx),
    alone("info", -1, Alone::Info),
    alone("keys", 2, Alone::Keys),
    alone("lockstep.consistency", -1, Alone::Lockstep),
    alone("lockstep.index", 1, Alone::Lockstep),
    alone("lockstep.once", -3, Alone::Lockstep),
    alone("lockstep.revision", 2, Alone::Lockstep),
    alone("lockstep.wait", 2, Alone::Lockstep),
    read("memory", -2, Keys { first: 2, last: 2, step: 1 }, keys::memory),
    read("mget", -2, Keys::ALL, strings::mget),
    composite("move", 3, Keys::ONE, composite::move_key),
    write("mset", -3, Keys::PAIRS, strings::mset),
    composite("msetex", -4, Keys::NONE, composite::msetex),
    composite("msetnx", -3, Keys::PAIRS, composite::msetnx),
    connection("multi", 1, Connection::Multi),
    read("object", -2, Keys { first: 2, last: 2, step: 1 }, keys::object),
    write("persist", 2, Keys::ONE, keys::persist),
    write("pexpire", -3, Keys::ONE, keys::pexpire),
    write("pexpireat", -3, Keys::ONE, keys::pexpireat),
    read("pexpiretime", 2, Keys::ONE, keys::pexpiretime),
    connection("ping", -1, Connection::Ping),
    write("psetex", 4, Keys::ONE, strings::psetex),
    alone("psubscribe", -2, Alone::Subscribe),
    read("pttl", 2, Keys::ONE, keys::pttl),
    write("publish", 3, Keys::NONE, push_commands::publish),
    connection("pubsub", -2, Connection::PubSub),
    alone("punsubscribe", -1, Alone::Subscribe),
    connection("quit", -1, Connection::Quit),
    alone("randomkey", 1, Alone::RandomKey),
    connection("readonly", 1, Connection::Accepted),
    connection("readwrite", 1, Connection::Accepted),
    composite("rename", 3, Keys::TWO, composite::rename),
    composite("renamenx", 3, Keys::TWO, composite::renamenx),
    alone("reset", 1, Alone::Reset),
    connection("role", 1, Connection::Role),
    alone("scan", -2, Alone::Scan),
    connection("script", -2, Connection::Script),
    connection("select", 2, Connection::Select),
    alone("sentinel", -2, Alone::Sentinel),
    write("set", -3, Keys::ONE, strings::set),
    write("setex", 4, Keys::ONE, strings::setex),
    write("setnx", 3, Keys::ONE, strings::setnx),
    write("setrange", 4, Keys::ONE, strings::setrange),
    connection("slowlog", -2, Connection::SlowLog),
    read("strlen", 2, Keys::ONE, strings::strlen),
    alone("subscribe", -2, Alone::Subscribe),
    read("substr", 4, Keys::ONE, strings::getrange),
    connection("time", 1, Connection::Time),
    read("touch", -2, Keys::ALL, keys::touch),
    read("ttl", 2, Keys::ONE, keys::ttl),
    read("type", 2, Keys::ONE, keys::kind),
    write("unlink", -2, Keys::ALL, keys::del),
    alone("unsubscribe", -1, Alone::Subscribe),
    connection("unwatch", 1, Connection::Unwatch),
    connection("wait", 3, Connection::Wait),
    connection("waitaof", 4, Connection::WaitAof),
    alone("watch", -2, Alone::Watch),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        assert!(ALL.is_sorted_by(|left, right| left.name < right.name));
        for command in ALL {
            let found = find(command.name.to_ascii_uppercase().as_bytes()).map(|found| found.name);
            assert_eq!(found, Some(command.name));
        }
        for name in ["", "nope", "getgetgetgetgetget"] {
            assert!(find(name.as_bytes()).is_none());
        }
    }
}
