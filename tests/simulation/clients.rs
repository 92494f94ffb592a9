//! The clients: each asks one thing at a time, of any node, and asks again where it was told nothing.

use crate::history::{Answer, Ask, Call, PAIR};
use crate::machine::Machine;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::trace::Trace;
use lockstep::cache::{Command, Condition, Found, Guard, Key, Op, Outcome, Step, Ttl, Value};
use lockstep::node::{Consistency, Node, NodeError, Principal, ReadAt, WriteRequest, Written};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const REGISTERS: u64 = 4;
const COUNTERS: u64 = 2;

struct Client {
    /// Its call that has no answer yet.
    waits_for: Option<usize>,
    idle_until: u64,
    /// What it asks again.
    again: Option<Ask>,
}

pub struct Clients {
    clients: Vec<Client>,
    random: Random,
    think_ms: u64,
    pub calls: Vec<Call>,
    answers: Arc<Mutex<Vec<(usize, Answer)>>>,
    pub oracle: Oracle,
}

impl Clients {
    /// A few, or a crowd: what it asks for at once waits for its turn to be proposed.
    pub fn new(mut random: Random, crowd: bool) -> Self {
        let count = if crowd { random.between(20, 40) } else { random.between(3, 7) };
        let client = |_| Client { waits_for: None, idle_until: 0, again: None };
        Self {
            clients: (0..count).map(client).collect(),
            think_ms: *random.pick(&[10, 40, 120]),
            random,
            calls: Vec::new(),
            answers: Arc::default(),
            oracle: Oracle::default(),
        }
    }

    /// Lets those that are idle ask.
    pub fn ask(&mut self, now: u64, machines: &[Machine], trace: &mut Trace) {
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            if client.waits_for.is_some() || client.idle_until > now {
                continue;
            }
            let up: Vec<&Machine> = machines.iter().filter(|machine| machine.node().is_some()).collect();
            if up.is_empty() {
                continue;
            }
            let machine = *self.random.pick(&up);
            let again = self.clients[number].again.take();
            let ask = again.unwrap_or_else(|| self.make_up());
            let call = self.start(now, number, machine, ask, trace);
            self.clients[number].waits_for = Some(call);
        }
    }

    fn make_up(&mut self) -> Ask {
        let random = &mut self.random;
        let key = format!("r{}", random.below(REGISTERS));
        let value = format!("v{}", self.calls.len());
        let level = match random.below(10) {
            0..=5 => Consistency::Linearizable,
            6 | 7 => Consistency::Lease,
            _ => Consistency::Stale,
        };
        match random.below(100) {
            0..=24 => Ask::Put { key, value, at: None },
            25..=29 => Ask::Put { key, value, at: Some(0) },
            30..=39 => {
                let at = Some(self.oracle.newest(&key));
                Ask::Put { key, value, at }
            }
            40..=44 => Ask::Delete { key },
            45..=54 => {
                let key = format!("c{}", random.below(COUNTERS));
                Ask::Incr { key, request: format!("request-{}", self.calls.len()) }
            }
            55..=59 => Ask::PutPair { value },
            60..=64 => Ask::PutBrief { key: format!("t{}", random.below(20)), ms: random.between(1, 2_000) },
            65..=69 => Ask::GetPair { level },
            70..=76 => Ask::Get { key: format!("c{}", random.below(COUNTERS)), level },
            _ => Ask::Get { key, level },
        }
    }

    /// Asks a node that is up.
    pub fn start(
        &mut self,
        now: u64,
        client: usize,
        machine: &Machine,
        ask: Ask,
        trace: &mut Trace,
    ) -> usize {
        let id = self.calls.len();
        let Some((life, node)) = machine.life.as_ref().zip(machine.node()) else { return id };
        trace.note(now, &format!("client {client} asks m{} {ask:?}", machine.place));
        let floor = self.oracle.floor();
        let (place, number) = (machine.place, machine.lives);
        let (node, answers, asked) = (node.clone(), self.answers.clone(), ask.clone());
        let limit = Duration::from_millis(self.random.between(200, 3_000));
        life.runtime.spawn(async move {
            let answer = carry_out(&node, asked, limit).await;
            answers.lock().expect("no panic while held").push((id, answer));
        });
        self.calls.push(Call { client, place, life: number, ask, floor, answer: None });
        id
    }

    /// Takes in what was answered.
    ///
    /// # Errors
    /// An answer that must not be.
    pub fn hear(&mut self, now: u64, trace: &mut Trace) -> Result<(), String> {
        let answers = std::mem::take(&mut *self.answers.lock().expect("no panic while held"));
        answers.into_iter().try_for_each(|(call, answer)| self.answered(now, call, answer, trace))
    }

    /// A process is gone; what was asked of it is answered by nobody.
    pub fn lost(&mut self, now: u64, machine: &Machine, trace: &mut Trace) -> Result<(), String> {
        let asked = |call: &Call| call.place == machine.place && call.life == machine.lives;
        let lost: Vec<usize> = (0..self.calls.len())
            .filter(|&id| self.calls[id].answer.is_none() && asked(&self.calls[id]))
            .collect();
        lost.into_iter().try_for_each(|call| self.answered(now, call, Answer::Unknown, trace))
    }

    fn answered(&mut self, now: u64, id: usize, answer: Answer, trace: &mut Trace) -> Result<(), String> {
        let call = &mut self.calls[id];
        trace.note(now, &format!("client {} hears of {id}: {answer:?}", call.client));
        call.answer = Some(answer);
        let again = matches!(call.answer, Some(Answer::Unknown | Answer::NotDone(_)));
        if let Some(client) = self.clients.get_mut(call.client).filter(|c| c.waits_for == Some(id)) {
            client.waits_for = None;
            client.idle_until = now + self.random.below(self.think_ms + 1);
            if again && matches!(call.ask, Ask::Incr { .. }) && self.random.chance(80) {
                client.again = Some(call.ask.clone());
            }
        }
        self.oracle.take_in(call)
    }

    pub fn answer(&self, id: usize) -> Option<&Answer> {
        self.calls.get(id)?.answer.as_ref()
    }

    /// All keys whose final state is known to the oracle.
    pub fn keys() -> Vec<String> {
        let registers = (0..REGISTERS).map(|n| format!("r{n}"));
        registers.chain((0..COUNTERS).map(|n| format!("c{n}"))).collect()
    }
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a short key")
}

fn put(name: &str, text: &str, ttl: Ttl, condition: Condition) -> Op {
    let value = Value::new(text.to_owned().into(), None).expect("a short value");
    Op::Put { key: key(name), value, ttl, condition, previous: false }
}

async fn carry_out(node: &Node, ask: Ask, limit: Duration) -> Answer {
    let mut request_name = None;
    let command = match ask {
        Ask::Put { key, value, at } => {
            let condition = match at {
                None => Condition::Always,
                Some(0) => Condition::Absent,
                Some(revision) => Condition::Revision(revision),
            };
            Command::One(put(&key, &value, Ttl::Never, condition))
        }
        Ask::Delete { key: name } => {
            Command::One(Op::Delete { key: key(&name), condition: Condition::Always, previous: false })
        }
        Ask::Incr { key: name, request } => {
            request_name = Some(request);
            let (ttl, condition) = (Ttl::Never, Condition::Always);
            in_one_or_in_many(Op::Incr { key: key(&name), by: 1, initial: 0, ttl, condition })
        }
        Ask::PutPair { value } => {
            let both = PAIR.map(|name| put(name, &value, Ttl::Never, Condition::Always));
            if value.len().is_multiple_of(2) { Command::Batch(both.into()) } else { with_drafts(both) }
        }
        Ask::PutBrief { key, ms } => Command::One(put(&key, "brief", Ttl::Ms(ms), Condition::Always)),
        Ask::Get { key: name, level } => {
            let read = node.get(&key(&name), level).await;
            return Answer::of_read(read.map(|read| ReadAt {
                value: vec![read.value.map(text)],
                index: read.index,
                term: read.term,
                now_ms: read.now_ms,
            }));
        }
        Ask::GetPair { level } => {
            let session = node.session(Principal::Anyone).with_consistency(level);
            let read = session.get_many(&PAIR.map(key), u64::MAX).await.map_err(|error| error.error);
            return Answer::of_read(read.map(|read| ReadAt {
                value: read.value.into_iter().map(|found| found.ok().map(text)).collect(),
                index: read.index,
                term: read.term,
                now_ms: read.now_ms,
            }));
        }
    };
    let request =
        WriteRequest { idempotency_key: request_name.map(Into::into), limit: Some(limit), ..command.into() };
    Answer::of_write(node.write(request).await.and_then(last_of_sequence))
}

/// Puts two values in steps that nobody may see, if the sequence is one change for all.
fn with_drafts(both: [Op; PAIR.len()]) -> Command {
    let draft = |name: &str| put(name, "draft", Ttl::Ms(50), Condition::Always);
    let mut ops: Vec<Op> = PAIR.map(draft).into();
    ops.push(Op::Append { key: key(PAIR[0]), bytes: "ed".into() });
    ops.push(Op::Delete {
        key: key(PAIR[1]),
        condition: Condition::ValueIs("draft".into()),
        previous: false,
    });
    ops.extend(both);
    // Where both are there, a full cache refuses none.
    let guard = |name: &str| Guard::Key { key: key(name), condition: Condition::Present };
    Command::Sequence { guards: PAIR.map(guard).into(), ops }
}

/// An increment of one counter by itself, of the others behind operations on other keys.
fn in_one_or_in_many(incr: Op) -> Command {
    if incr.key().as_str() == "c0" {
        return Command::One(incr);
    }
    let scratch = || key("scratch");
    let ops = vec![
        Op::SetRange { key: scratch(), offset: 3, bytes: "abc".into() },
        Op::GetEx { key: scratch(), ttl: Some(Ttl::Ms(80)) },
        Op::IncrDecimal { key: key("decimal"), by: "0.1".into() },
        Op::Look { key: scratch() },
        Op::IncrWithin {
            key: key("limiter"),
            step: Step::Integer { by: 1, lower: 0, upper: 9 },
            saturates: false,
            ttl: Some(Ttl::Ms(60)),
            keeps_deadline: true,
        },
        Op::IncrField { key: key("hash"), field: "n".into(), by: 1 },
        Op::SetFields { key: key("hash"), fields: vec![("f".into(), "v".into())], only_new: true },
        Op::DeleteFields { key: key("hash"), fields: vec!["f".into()] },
        incr,
    ];
    Command::Sequence { guards: Vec::new(), ops }
}

/// What the operation did that was asked for, or why it was refused.
fn last_of_sequence(written: Written) -> Result<Written, NodeError> {
    let Outcome::Sequence { mut results, .. } = written.outcome else { return Ok(written) };
    match results.pop().expect("it has operations") {
        Ok(outcome) => Ok(Written { outcome, ..written }),
        Err(refusal) => {
            Err(NodeError::Refused { error: refusal.error, index: written.index, term: written.term })
        }
    }
}

fn text(found: Found) -> (u64, String) {
    (found.info.revision, String::from_utf8_lossy(&found.value.bytes).into_owned())
}
