//! A client that speaks the Redis protocol: it keeps a connection to each node, never repeats a command, and takes no
//! reply for another than it is. What a node tells and no request of its is answered with makes the run red.

#[cfg(test)]
mod fake_node_test;
pub mod wire;
mod words;

use super::ask::{Condition, Level, Reply, Request};
use super::cluster::{Address, Directory};
use lockstep::check::Outcome;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::{Broken, Connection, Frame, Version};
pub use words::command;
use words::{failure, member, reply};

/// How long a client waits: longer than a node does.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nodes that a walk that got stuck goes on at.
const WALK_TRIES: u32 = 5;
/// Steps of a walk over more keys than there ever are.
const WALK_STEPS_MAX: usize = 10_000;

/// Sentences about what is wrong: a few are enough to read.
const WRONG_MAX: usize = 20;

/// One client.
pub struct Redis {
    directory: Directory,
    random: fastrand::Rng,
    connections: HashMap<String, Connection>,
    /// What nodes told and must not, in sentences.
    wrong: Arc<Mutex<Vec<String>>>,
}

/// The replies of a pipeline, in order. Those that are missing were lost.
struct Told {
    frames: Vec<Frame>,
    lost: &'static str,
}

impl Told {
    /// The reply to the command at this place, or an unknown outcome.
    fn at(&self, place: usize) -> Result<&Frame, Reply> {
        self.frames.get(place).ok_or_else(|| Reply::without(Outcome::Unknown, self.lost))
    }
}

impl Redis {
    pub fn new(directory: Directory, random: fastrand::Rng, wrong: Arc<Mutex<Vec<String>>>) -> Self {
        Self { directory, random, connections: HashMap::new(), wrong }
    }

    /// Several requests as one pipeline; each must be a single command.
    pub async fn pipeline(&mut self, node: &Address, requests: &[Request]) -> Vec<Reply> {
        let mut commands = Vec::new();
        for request in requests {
            commands.push(command(request, self.random.u8(..)).expect("a single command"));
        }
        let told = match self.send(node, &commands).await {
            Ok(told) => told,
            Err(failed) => return requests.iter().map(|_| failed.clone()).collect(),
        };
        let replies = requests.iter().enumerate();
        replies.map(|(at, request)| self.read(node, request, told.at(at))).collect()
    }

    pub async fn ask(&mut self, node: &Address, request: &Request) -> Reply {
        let done = match request {
            Request::Get { key, level: Level::Lease } => self.get_by_lease(node, request, key).await,
            Request::GetToChange { key } => self.get_and_watch(node, request, key).await,
            Request::Put { key, value, condition: Condition::Watched, .. } => {
                self.put_watched(node, request, &[key], value).await
            }
            // A third of the writes over a value are transactions.
            Request::Put { key, value, condition: Condition::Value(from), .. }
                if self.random.u8(..3) == 0 =>
            {
                self.compare_and_put(node, request, from.as_deref(), &[key], value, 0).await
            }
            Request::PutAll { keys, value, condition: Condition::Value(from @ Some(_)), on } => {
                let keys: Vec<&String> = keys.iter().collect();
                self.compare_and_put(node, request, from.as_deref(), &keys, value, *on).await
            }
            Request::Members { prefix, walk: true } => self.walk(node, request, prefix).await,
            Request::Mix { read, put, add } => self.mix(node, request, read, put, add).await,
            _ => self.single(node, request).await,
        };
        done.unwrap_or_else(|failed| failed)
    }

    /// One command, at times in a transaction or a script.
    async fn single(&mut self, node: &Address, request: &Request) -> Result<Reply, Reply> {
        let words = command(request, self.random.u8(..)).expect("what only HTTP has is asked over HTTP");
        let is_own = words[0] == "LOCKSTEP.ONCE" || words[0] == "KEYS";
        match self.random.u8(..10) {
            0 if !is_own => {
                let frames = self.transaction(node, request, &[words]).await?;
                let frames = frames.ok_or_else(|| self.unexpected(node, request, &Frame::Null))?;
                Ok(self.read(node, request, Ok(&frames[0])))
            }
            1 if !is_own && !matches!(request, Request::GetAll { .. } | Request::PutAll { .. }) => {
                let script = "return redis.call(unpack(ARGV))";
                let mut eval = ["EVAL", script, "1", &words[1]].map(str::to_owned).to_vec();
                eval.extend(words);
                let told = self.send(node, &[eval]).await?;
                Ok(self.read(node, request, told.at(0)))
            }
            // The connection's newest index is that of this command: of what it wrote, or of what it read from.
            2..6 if !is_own => {
                let told = self.send(node, &[words, vec!["LOCKSTEP.INDEX".into()]]).await?;
                let mut reply = self.read(node, request, told.at(0));
                match told.at(1) {
                    Ok(Frame::Integer(index @ 1..)) if reply.is_ok() => {
                        reply.index = u64::try_from(*index).ok();
                        let reads = matches!(
                            request,
                            Request::Get { .. } | Request::GetAll { .. } | Request::Left { .. }
                        );
                        reply.revision = reply.index.filter(|_| !reads);
                    }
                    Ok(Frame::Integer(0..)) if !reply.is_ok() => {}
                    Ok(Frame::Error(text)) if failure(text).is_some() => {}
                    Err(_) => {}
                    Ok(other) => return Err(self.unexpected(node, request, other)),
                }
                Ok(reply)
            }
            _ => {
                let told = self.send(node, &[words]).await?;
                Ok(self.read(node, request, told.at(0)))
            }
        }
    }

    async fn get_by_lease(&mut self, node: &Address, request: &Request, key: &str) -> Result<Reply, Reply> {
        let ask_for = |level: &str| vec!["LOCKSTEP.CONSISTENCY".to_owned(), level.to_owned()];
        let get = vec!["GET".to_owned(), key.to_owned()];
        let commands = [ask_for("lease"), get, ask_for("linearizable")];
        let told = self.send(node, &commands).await?;
        for place in [0, 2] {
            self.expect_status(node, request, told.at(place)?, "OK")?;
        }
        Ok(self.read(node, request, told.at(1)))
    }

    async fn get_and_watch(&mut self, node: &Address, request: &Request, key: &str) -> Result<Reply, Reply> {
        let told =
            self.send(node, &[vec!["WATCH".into(), key.into()], vec!["GET".into(), key.into()]]).await?;
        self.expect_status(node, request, told.at(0)?, "OK")?;
        if let Some(connection) = self.connections.get_mut(&node.name) {
            connection.watches = true;
        }
        Ok(self.read(node, request, told.at(1)))
    }

    /// Writes what is watched on this node's connection, and whatever goes with it.
    async fn put_watched(
        &mut self,
        node: &Address,
        request: &Request,
        keys: &[&String],
        value: &str,
    ) -> Result<Reply, Reply> {
        if !self.connections.get(&node.name).is_some_and(|connection| connection.watches) {
            // What was watched went with the connection.
            return Err(Reply::without(Outcome::Fail, "unreachable"));
        }
        let puts: Vec<Vec<String>> =
            keys.iter().map(|key| vec!["SET".to_owned(), (*key).clone(), value.to_owned()]).collect();
        let frames = self.watched_transaction(node, request, &puts).await?;
        let Some(frames) = frames else { return Err(Reply::without(Outcome::Fail, "conflict")) };
        for frame in &frames {
            self.expect_status(node, request, frame, "OK")?;
        }
        Ok(Reply::ok(Value::Null))
    }

    /// `WATCH`, `GET`, and if the value is that, `MULTI`, `SET`, `EXEC`.
    async fn compare_and_put(
        &mut self,
        node: &Address,
        request: &Request,
        from: Option<&str>,
        keys: &[&String],
        value: &str,
        on: usize,
    ) -> Result<Reply, Reply> {
        let get = Request::get(keys[on]);
        let found = self.get_and_watch(node, &get, keys[on]).await.unwrap_or_else(|failed| failed);
        if !found.is_ok() {
            // Nothing was written yet.
            return Err(Reply { outcome: Outcome::Fail, ..found });
        }
        if found.answer.as_str() != from {
            return Err(Reply::without(Outcome::Fail, "precondition_failed"));
        }
        self.put_watched(node, request, keys, value).await
    }

    async fn mix(
        &mut self,
        node: &Address,
        request: &Request,
        read: &str,
        put: &str,
        add: &str,
    ) -> Result<Reply, Reply> {
        let all = ["GET", read, "SET", put, "y", "PX", "500", "INCRBY", add, "2"].map(str::to_owned);
        let commands = [all[..2].to_vec(), all[2..7].to_vec(), all[7..].to_vec()];
        let frames = self.transaction(node, request, &commands).await?;
        match frames.as_deref() {
            Some([Frame::Text(_) | Frame::Null, _, _]) => Ok(Reply::ok(format!("{frames:?}"))),
            _ => Err(self.unexpected(node, request, &Frame::Array(frames.unwrap_or_default()))),
        }
    }

    /// All keys that begin with this, step by step. Where a node does not answer, or now and then, another one is asked
    /// for the next step: a cursor is good at each.
    async fn walk(&mut self, node: &Address, request: &Request, prefix: &str) -> Result<Reply, Reply> {
        let (mut cursor, mut members, mut tries, mut at) = ("0".to_owned(), Vec::new(), 0, node.clone());
        let hops = self.random.u8(..3) == 0;
        for _ in 0..WALK_STEPS_MAX {
            let pattern = format!("{prefix}*");
            let words = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", "100"].map(str::to_owned).to_vec();
            let told = match self.send(&at, &[words]).await {
                Ok(told) => told.at(0).cloned(),
                Err(failed) => Err(failed),
            };
            let failed = match told {
                Ok(Frame::Error(text)) => match failure(&text) {
                    Some(failed) => failed,
                    None => return Err(self.unexpected(&at, request, &Frame::Error(text))),
                },
                Ok(frame) => {
                    let Some((next, keys)) = step(prefix, &frame) else {
                        return Err(self.unexpected(&at, request, &frame));
                    };
                    members.extend(keys);
                    if next == "0" {
                        return Ok(Reply::ok(members));
                    }
                    cursor = next;
                    if hops {
                        at = self.directory.any(&mut self.random);
                    }
                    continue;
                }
                Err(failed) => failed,
            };
            tries += 1;
            if tries == WALK_TRIES {
                return Err(failed);
            }
            at = self.directory.any(&mut self.random);
        }
        self.say(format!("{}: a walk over {prefix}* does not end", node.name));
        Err(Reply::without(Outcome::Unknown, "garbled"))
    }

    /// Commands between `MULTI` and `EXEC`. `None`: nothing was done, as a watched key had changed.
    async fn transaction(
        &mut self,
        node: &Address,
        request: &Request,
        commands: &[Vec<String>],
    ) -> Result<Option<Vec<Frame>>, Reply> {
        self.forget_watched(node);
        self.watched_transaction(node, request, commands).await
    }

    async fn watched_transaction(
        &mut self,
        node: &Address,
        request: &Request,
        commands: &[Vec<String>],
    ) -> Result<Option<Vec<Frame>>, Reply> {
        let all: Vec<Vec<String>> = std::iter::once(vec!["MULTI".to_owned()])
            .chain(commands.iter().cloned())
            .chain([vec!["EXEC".to_owned()]])
            .collect();
        let told = self.exchange(node, &all).await?;
        if let Some(connection) = self.connections.get_mut(&node.name) {
            connection.watches = false;
        }
        let done = told.at(all.len() - 1)?;
        self.expect_status(node, request, told.at(0)?, "OK")?;
        for place in 1..=commands.len() {
            self.expect_status(node, request, told.at(place)?, "QUEUED")?;
        }
        match done {
            Frame::Array(frames) if frames.len() == commands.len() => Ok(Some(frames.clone())),
            // Version 3 has one way to say that there is nothing.
            Frame::NullArray | Frame::Null => Ok(None),
            Frame::Error(text) => Err(failure(text).unwrap_or_else(|| self.unexpected(node, request, done))),
            other => Err(self.unexpected(node, request, other)),
        }
    }

    fn read(&self, node: &Address, request: &Request, frame: Result<&Frame, Reply>) -> Reply {
        match frame {
            Ok(frame) => reply(request, frame).unwrap_or_else(|| self.unexpected(node, request, frame)),
            Err(lost) => lost,
        }
    }

    /// # Errors
    /// It is an error of which the effect is known, or wrong.
    fn expect_status(
        &self,
        node: &Address,
        request: &Request,
        frame: &Frame,
        status: &str,
    ) -> Result<(), Reply> {
        match frame {
            Frame::Status(text) if text == status => Ok(()),
            Frame::Error(text) => Err(failure(text).unwrap_or_else(|| self.unexpected(node, request, frame))),
            other => Err(self.unexpected(node, request, other)),
        }
    }

    fn unexpected(&self, node: &Address, request: &Request, frame: &Frame) -> Reply {
        self.say(format!("{} answered {request:?} with {frame}", node.name));
        Reply::without(Outcome::Unknown, "garbled")
    }

    fn say(&self, what: String) {
        let mut wrong = self.wrong.lock().expect("no panic while held");
        if wrong.len() < WRONG_MAX {
            wrong.push(what);
        }
    }

    /// A connection on which something is watched that nobody writes to any more is given up.
    fn forget_watched(&mut self, node: &Address) {
        if self.connections.get(&node.name).is_some_and(|connection| connection.watches) {
            self.connections.remove(&node.name);
        }
    }

    async fn send(&mut self, node: &Address, commands: &[Vec<String>]) -> Result<Told, Reply> {
        self.forget_watched(node);
        self.exchange(node, commands).await
    }

    /// Sends a pipeline on the connection to this node, which is opened if there is none.
    ///
    /// # Errors
    /// Nothing was sent.
    async fn exchange(&mut self, node: &Address, commands: &[Vec<String>]) -> Result<Told, Reply> {
        let unreachable = || Reply::without(Outcome::Fail, "unreachable");
        let kept = self.connections.remove(&node.name).map(|kept| kept.idles().map(|()| kept));
        let mut connection = match kept {
            Some(Ok(kept)) => kept,
            // What it watched went with it.
            Some(Err(Broken::Lost | Broken::Late)) if commands[0][0] == "MULTI" => return Err(unreachable()),
            Some(Err(Broken::Garbled(what))) => return Err(self.garbled(node, &what)),
            Some(Err(_)) | None => {
                let version = if self.random.bool() { Version::Two } else { Version::Three };
                match Connection::open(&node.redis, version, PATIENCE).await {
                    Ok(opened) => opened,
                    Err(Broken::Garbled(what)) => return Err(self.garbled(node, &what)),
                    Err(_) => return Err(unreachable()),
                }
            }
        };
        let (frames, broken) = connection.exchange(commands, PATIENCE).await;
        let lost = match broken {
            None => "",
            Some(Broken::Lost) => "lost",
            Some(Broken::Late) => "timeout",
            Some(Broken::Garbled(what)) => {
                self.garbled(node, &what);
                "garbled"
            }
        };
        // A node that has not found its cluster ends the connection.
        let ends =
            frames.iter().any(|frame| matches!(frame, Frame::Error(text) if text.starts_with("LOADING ")));
        if lost.is_empty() && !ends {
            self.connections.insert(node.name.clone(), connection);
        }
        Ok(Told { frames, lost })
    }

    fn garbled(&self, node: &Address, what: &str) -> Reply {
        self.say(format!("{}: {what}", node.name));
        Reply::without(Outcome::Fail, "garbled")
    }
}

/// The next cursor, and the members that this step of a walk found.
fn step(prefix: &str, frame: &Frame) -> Option<(String, Vec<Value>)> {
    let Frame::Array(parts) = frame else { return None };
    let [Frame::Text(next), Frame::Array(keys)] = &parts[..] else { return None };
    next.parse::<u64>().ok()?;
    Some((next.clone(), keys.iter().map(|key| member(prefix, key)).collect::<Option<_>>()?))
}
