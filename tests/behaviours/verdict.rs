//! What a client did, against what a case says.

use crate::case::{Case, Expected};
use crate::server::Seen;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// Sentences: what is not as the case says.
pub fn failures(case: &Case, outcomes: &[Value], seen: &[Seen], answers_left: usize) -> Vec<String> {
    let mut failures = Vec::new();
    failures.extend(wrong_outcomes(outcomes, &case.outcomes));
    let Some(requests) = &case.requests else { return failures };
    if answers_left > 0 {
        failures.push(format!("{answers_left} answers were not asked for"));
    }
    if seen.len() != requests.len() {
        let told: Vec<String> =
            seen.iter().map(|seen| format!("{} {} at node {}", seen.method, seen.path, seen.node)).collect();
        failures.push(format!("{} requests, not {}: {told:?}", seen.len(), requests.len()));
    }
    for (position, expected) in requests.iter().enumerate().take(seen.len()) {
        let wrong = differences(seen, position, expected);
        failures.extend(wrong.into_iter().map(|wrong| format!("request {position}: {wrong}")));
    }
    failures
}

/// Which outcomes are not as they should be.
pub fn wrong_outcomes(outcomes: &[Value], expected: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcomes.len() != expected.len() {
        wrong.push(format!("{} outcomes, not {}", outcomes.len(), expected.len()));
    }
    for (position, (got, expected)) in outcomes.iter().zip(expected).enumerate() {
        if !includes(got, expected) {
            wrong.push(format!("call {position}: {got}, not {expected}"));
        }
    }
    wrong
}

/// Whether `got` has everything of `expected`: of objects only the members that are named count.
fn includes(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| got.get(name).is_some_and(|got| includes(got, value)))
        }
        (Value::Array(got), Value::Array(expected)) => {
            got.len() == expected.len()
                && got.iter().zip(expected).all(|(got, expected)| includes(got, expected))
        }
        _ => got == expected,
    }
}

fn differences(all: &[Seen], position: usize, expected: &Expected) -> Vec<String> {
    let seen = &all[position];
    let mut wrong = Vec::new();
    let (node, method, path) = (expected.node, expected.method.as_str(), expected.path.as_str());
    if (seen.node, seen.method.as_str(), seen.path.as_str()) != (node, method, path) {
        wrong.push(format!(
            "{} {} at node {}, not {method} {path} at node {node}",
            seen.method, seen.path, seen.node
        ));
    }
    for (name, value) in &expected.headers {
        let got = seen.headers.get(name).map(String::as_str);
        if got != value.as_str() {
            wrong.push(format!("{name}: {got:?}, not {value}"));
        }
    }
    for (name, value) in &expected.query {
        let got = seen.query.iter().find(|(got, _)| got == name).map(|(_, value)| value.as_str());
        if got != value.as_str() {
            wrong.push(format!("{name}={got:?} in the query, not {value}"));
        }
    }
    let text = String::from_utf8_lossy(&seen.body);
    let body_is_right = expected.text.as_ref().is_none_or(|expected| *expected == text)
        && expected.text_has.as_ref().is_none_or(|part| text.contains(part.as_str()))
        && expected.base64.as_ref().is_none_or(|expected| *expected == BASE64.encode(&seen.body))
        && expected.json.as_ref().is_none_or(|expected| {
            serde_json::from_slice(&seen.body).is_ok_and(|got: Value| includes(&got, expected))
        });
    if !body_is_right {
        wrong.push(format!("the body is {text}"));
    }
    let key_of = |seen: &Seen| seen.headers.get("idempotency-key").cloned();
    let key = key_of(seen);
    let key_is_right = match &expected.key {
        None => true,
        Some(Value::String(kind)) if kind == "none" => key.is_none(),
        Some(Value::String(kind)) if kind == "new" => {
            key.is_some() && all[..position].iter().all(|earlier| key_of(earlier) != key)
        }
        Some(Value::Number(earlier)) => {
            let earlier = earlier.as_u64().expect("a position") as usize;
            key.is_some() && key_of(&all[earlier]) == key
        }
        Some(other) => panic!("{other} is no kind of key"),
    };
    if !key_is_right {
        wrong.push(format!("its idempotency key is {key:?}"));
    }
    if let (Some(wait_ms), Some(before)) = (expected.wait_ms, position.checked_sub(1)) {
        let waited_ms = seen.at.duration_since(all[before].at).as_millis();
        if waited_ms < u128::from(wait_ms) {
            wrong.push(format!("after {waited_ms} ms, not {wait_ms}"));
        }
    }
    wrong
}
