//! The cases of `tests/vectors/client_behaviours.json`, as its README describes them.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
pub struct Cases {
    pub version: u32,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default = "one")]
    pub nodes: usize,
    #[serde(default)]
    pub down: Vec<usize>,
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    #[serde(default)]
    pub options: Map<String, Value>,
    pub calls: Vec<Value>,
    pub answers: Vec<Answer>,
    pub outcomes: Vec<Value>,
    /// Not checked where it is absent.
    pub requests: Option<Vec<Expected>>,
    /// The outcomes at real nodes that have no key.
    pub real: Option<Vec<Value>>,
}

fn one() -> usize {
    1
}

fn ten_seconds() -> u64 {
    10_000
}

/// What a node answers.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: Map<String, Value>,
    pub text: Option<String>,
    pub base64: Option<String>,
    pub json: Option<Value>,
    pub fault: Option<Fault>,
    pub problem: Option<String>,
    pub leader: Option<usize>,
    /// Members of the problem, as they are sent.
    pub retry_after_ms: Option<u64>,
    pub revision: Option<u64>,
    pub holder: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub gone: Option<Value>,
    /// It is the answer to all further requests.
    #[serde(default)]
    pub repeat: bool,
    pub stream: Option<Vec<Value>>,
    pub then: Option<Then>,
}

/// A member that is `null` is there.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    Reset,
    Half,
    Hang,
    /// It comes in parts, with pauses between them.
    Drip,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    Close,
    Reset,
    Half,
    Hold,
}

/// A request that has to arrive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub node: usize,
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub headers: Map<String, Value>,
    #[serde(default)]
    pub query: Map<String, Value>,
    pub text: Option<String>,
    pub text_has: Option<String>,
    pub base64: Option<String>,
    pub json: Option<Value>,
    /// `new`, `none`, or the position of an earlier request with the same key.
    pub key: Option<Value>,
    /// At least so long after the request before it.
    pub wait_ms: Option<u64>,
}

pub fn cases() -> Vec<Case> {
    let text = include_str!("../vectors/client_behaviours.json");
    let Cases { version, cases } = serde_json::from_str(text).expect("the cases are well-formed");
    assert_eq!(version, 1);
    cases
}
