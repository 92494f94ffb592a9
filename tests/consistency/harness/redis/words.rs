//! Requests as single commands, and what each may be answered. What is none of that is wrong.

use super::wire::Frame;
use crate::harness::ask::{Condition, Level, Reply, Request};
use lockstep::check::Outcome;
use serde_json::Value;

/// The command of a request that is one. `dice` chooses between commands that mean the same.
pub fn command(request: &Request, dice: u8) -> Option<Vec<String>> {
    let text = |parts: &[&str]| Some(parts.iter().map(|part| (*part).to_owned()).collect());
    let even = dice.is_multiple_of(2);
    match request {
        Request::Get { key, level: Level::Linearizable } => text(&["GET", key]),
        Request::Put { key, value, condition, ttl_ms, .. } => match (condition, ttl_ms) {
            (Condition::Always, None) => text(&["SET", key, value]),
            (Condition::Always, Some(ms)) if even => text(&["SET", key, value, "PX", &ms.to_string()]),
            (Condition::Always, Some(ms)) => text(&["PSETEX", key, &ms.to_string(), value]),
            (Condition::Value(Some(from)), None) => text(&["SET", key, value, "IFEQ", from]),
            (Condition::Value(None), None) => text(&["SET", key, value, "NX"]),
            _ => None,
        },
        Request::Delete { key } => text(&[if even { "DEL" } else { "UNLINK" }, key]),
        Request::Add { key, by, id: Some(id) } => {
            text(&["LOCKSTEP.ONCE", id, "INCRBY", key, &by.to_string()])
        }
        Request::Add { key, by, id: None } => match by {
            1 if even => text(&["INCR", key]),
            -1 if even => text(&["DECR", key]),
            _ if *by < 0 => text(&["DECRBY", key, &by.unsigned_abs().to_string()]),
            _ => text(&["INCRBY", key, &by.to_string()]),
        },
        Request::Expire { key, ttl_ms } => text(&["PEXPIRE", key, &ttl_ms.to_string()]),
        Request::Left { key } => text(&["PTTL", key]),
        Request::Members { prefix, walk: false } => text(&["KEYS", &format!("{prefix}*")]),
        Request::GetAll { keys } => {
            Some(std::iter::once("MGET".to_owned()).chain(keys.iter().cloned()).collect())
        }
        Request::PutAll { keys, value, condition: Condition::Always, .. } => Some(pairs("MSET", keys, value)),
        // Keys that are written together are absent together.
        Request::PutAll { keys, value, condition: Condition::Value(None), .. } => {
            Some(pairs("MSETNX", keys, value))
        }
        _ => None,
    }
}

fn pairs(name: &str, keys: &[String], value: &str) -> Vec<String> {
    let pairs = keys.iter().flat_map(|key| [key.clone(), value.to_owned()]);
    std::iter::once(name.to_owned()).chain(pairs).collect()
}

/// What a reply to that command says. `None`: it is none that the command can have.
pub fn reply(request: &Request, frame: &Frame) -> Option<Reply> {
    let refused = || Some(Reply::without(Outcome::Fail, "precondition_failed"));
    let absent = || Some(Reply::without(Outcome::Fail, "not_found"));
    let is_ok = |frame: &Frame| *frame == Frame::Status("OK".into());
    let done = || Some(Reply::ok(Value::Null));
    match (request, frame) {
        (_, Frame::Error(text)) => failure(text),
        (Request::Get { .. } | Request::GetToChange { .. }, frame) => Some(Reply::ok(value(frame)?)),
        (Request::Put { .. } | Request::PutAll { condition: Condition::Always, .. }, frame)
            if is_ok(frame) =>
        {
            done()
        }
        (Request::Put { condition: Condition::Value(_), .. }, Frame::Null) => refused(),
        (Request::PutAll { condition: Condition::Value(None), .. }, Frame::Integer(1)) => done(),
        (Request::PutAll { condition: Condition::Value(None), .. }, Frame::Integer(0)) => refused(),
        (Request::Delete { .. } | Request::Expire { .. }, Frame::Integer(1)) => done(),
        (Request::Delete { .. } | Request::Expire { .. }, Frame::Integer(0)) => absent(),
        (Request::Add { .. }, Frame::Integer(sum)) => Some(Reply::ok(*sum)),
        (Request::Left { .. }, Frame::Integer(-2)) => done(),
        // Without a lifetime, -1: these keys have one.
        (Request::Left { .. }, Frame::Integer(left @ 0..)) => Some(Reply::ok(*left)),
        (Request::Members { prefix, .. }, Frame::Array(keys)) => {
            let members: Option<Vec<Value>> = keys.iter().map(|key| member(prefix, key)).collect();
            Some(Reply::ok(members?))
        }
        (Request::GetAll { keys }, Frame::Array(values)) if values.len() == keys.len() => {
            let values: Option<Vec<Value>> = values.iter().map(value).collect();
            Some(Reply::ok(values?))
        }
        _ => None,
    }
}

/// What follows the prefix in a key that was told.
pub fn member(prefix: &str, key: &Frame) -> Option<Value> {
    let Frame::Text(key) = key else { return None };
    Some(key.strip_prefix(prefix)?.into())
}

fn value(frame: &Frame) -> Option<Value> {
    match frame {
        Frame::Text(text) => Some(text.as_str().into()),
        Frame::Null => Some(Value::Null),
        _ => None,
    }
}

/// What an error says of the effect, as docs/redis.md tells it. `None`: none that these clients can be answered.
pub fn failure(text: &str) -> Option<Reply> {
    const KNOWN: [(&str, Outcome, &str); 4] = [
        ("OUTCOMEUNKNOWN ", Outcome::Unknown, "outcome_unknown"),
        ("UNAVAILABLE nothing was done", Outcome::Fail, "unavailable"),
        ("LOADING ", Outcome::Fail, "loading"),
        ("OOM ", Outcome::Fail, "cache_full"),
    ];
    let (_, outcome, code) = KNOWN.into_iter().find(|(start, ..)| text.starts_with(start))?;
    Some(Reply::without(outcome, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(request: &Request, frame: Frame) -> Option<(Outcome, Value)> {
        reply(request, &frame).map(|reply| (reply.outcome, reply.answer))
    }

    fn error(text: &str) -> Frame {
        Frame::Error(text.into())
    }

    #[test]
    fn errors_say_what_the_effect_is_and_others_are_wrong() {
        let put = Request::put("k", 1);
        let outcome = |text: &str| told(&put, error(text)).map(|(outcome, _)| outcome);
        assert_eq!(outcome("OUTCOMEUNKNOWN no answer in time"), Some(Outcome::Unknown));
        for text in ["UNAVAILABLE nothing was done: no leader", "LOADING this node", "OOM command"] {
            assert_eq!(outcome(text), Some(Outcome::Fail), "{text}");
        }
        for text in ["UNAVAILABLE something", "ERR syntax error", "WRONGTYPE", "EXECABORT"] {
            assert_eq!(outcome(text), None, "{text}");
        }
    }

    #[test]
    fn each_command_has_replies_of_its_own() {
        let get = Request::get("k");
        assert_eq!(told(&get, Frame::Text("1".into())), Some((Outcome::Ok, "1".into())));
        assert_eq!(told(&get, Frame::Null), Some((Outcome::Ok, Value::Null)));
        assert_eq!(told(&get, Frame::Integer(1)), None);
        assert_eq!(told(&get, Frame::NullArray), None);
        let status = Frame::Status("OK".into());
        assert_eq!(told(&Request::put("k", 1), status.clone()), Some((Outcome::Ok, Value::Null)));
        assert_eq!(told(&Request::put("k", 1), Frame::Null), None, "it has no condition");
        let cas = Request::put_if("k", 1, Condition::Value(None));
        assert_eq!(told(&cas, Frame::Null), Some((Outcome::Fail, Value::Null)));
        let delete = Request::Delete { key: "k".into() };
        assert_eq!(told(&delete, Frame::Integer(2)), None);
        assert_eq!(told(&delete, status), None);
        let left = Request::Left { key: "k".into() };
        assert_eq!(told(&left, Frame::Integer(-1)), None, "it has a lifetime");
        let keys = Request::Members { prefix: "s:".into(), walk: false };
        assert_eq!(told(&keys, Frame::Array(vec![Frame::Text("t:1".into())])), None, "another prefix");
        let all = Request::GetAll { keys: vec!["a".into(), "b".into()] };
        assert_eq!(told(&all, Frame::Array(vec![Frame::Null])), None, "one is missing");
    }
}
