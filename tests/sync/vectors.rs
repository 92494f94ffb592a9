//! The cases of `tests/vectors/cache_sync.json`, which all implementations share.

use lockstep::client::sync::{
    BaseState, ChangeKind, ClockState, Deletes, LocalChange, Policy, Question, RemoteState, Verdict, decide,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    policy: Policy,
    deletes: Deletes,
    base: Option<Value>,
    local: Value,
    remote: Value,
    clock: Value,
    expect: Expected,
}

#[derive(Deserialize)]
struct Expected {
    decision: Verdict,
    conflict: bool,
    ambiguous: bool,
    clamped: bool,
}

fn question(case: &Case) -> Question {
    let Case { policy, deletes, base, local, remote, clock, .. } = case;
    let kind: ChangeKind = serde_json::from_value(local["op"].clone()).expect("a kind");
    let number = |value: &Value| value.as_i64().expect("a number");
    let gone = serde_json::from_value(remote["gone"].clone()).expect("a removal, or none");
    let same = |name: &str| local[name] == remote[name];
    Question {
        policy: *policy,
        deletes: *deletes,
        base: match base {
            None => BaseState::Unknown,
            Some(base) => match base["revision"].as_u64() {
                Some(revision) => BaseState::Revision(revision),
                None => BaseState::AbsentAt(base["absent_at"].as_u64().expect("an index")),
            },
        },
        local: LocalChange { kind, at_ms: local["at_ms"].as_i64(), offset_ms: local["offset_ms"].as_i64() },
        remote: match remote["found"].as_bool().expect("whether it is there") {
            true => RemoteState::Found {
                revision: remote["revision"].as_u64().expect("a revision"),
                modified_at_ms: number(&remote["modified_at_ms"]),
                equal: kind == ChangeKind::Set && same("value") && same("content_type"),
            },
            false => RemoteState::Absent { gone },
        },
        clock: ClockState {
            offset_ms: number(&clock["offset_ms"]),
            error_ms: number(&clock["error_ms"]),
            now_ms: number(&clock["now_ms"]),
        },
    }
}

#[test]
fn every_shared_case_is_decided_as_expected() {
    let text = include_str!("../vectors/cache_sync.json");
    let Vectors { cases } = serde_json::from_str(text).expect("the vectors");
    assert_eq!(cases.len(), 102);
    for case in &cases {
        let decision = decide(&question(case));
        let Expected { decision: verdict, conflict, ambiguous, clamped } = case.expect;
        assert_eq!(decision.verdict, verdict, "{}", case.name);
        assert_eq!(
            (decision.conflict, decision.ambiguous, decision.clamped),
            (conflict, ambiguous, clamped),
            "{}",
            case.name
        );
    }
}
