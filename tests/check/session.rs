//! The model `session`: answers that may be old, and must fit the log index they name.

use crate::support::{asked, at, failed, history, judged, ok, unknown, verdict};
use lockstep::check::{ModelName, Operation, Verdict};
use serde_json::{Value, json};

fn index(index: u64, operation: Operation) -> Operation {
    Operation { index: Some(index), ..operation }
}

fn write(value: &str, revision: u64, times: (u64, u64)) -> Operation {
    index(revision, at(revision, ok(0, "write", json!({"value": value}), Value::Null, times)))
}

/// A read at an index, long after all writes, that asks for an index.
fn read(value: &str, revision: u64, now: u64, min_index: u64) -> Operation {
    let argument = json!({"min_index": min_index});
    index(now, at(revision, ok(1, "read", argument, json!(value), (1_000 + now, 1_001 + now))))
}

fn miss(now: u64) -> Operation {
    index(now, ok(1, "read", Value::Null, Value::Null, (1_000 + now, 1_001 + now)))
}

/// Two writes and a delete, at 3, 6 and 9.
fn past() -> Vec<Operation> {
    let delete = index(9, ok(0, "delete", Value::Null, Value::Null, (50, 60)));
    vec![write("a", 3, (0, 10)), write("b", 6, (20, 30)), delete]
}

fn with(more: &[Operation]) -> Vec<Operation> {
    [past(), more.to_vec()].concat()
}

#[track_caller]
fn assert_fits(more: &[Operation]) {
    assert_eq!(verdict(ModelName::Session, &with(more)), Verdict::Yes);
}

/// The reason, and the two operations that contradict each other.
#[track_caller]
fn reason(operations: Vec<Operation>) -> String {
    let report = judged(&history(ModelName::Session, operations));
    assert_eq!(report.verdict, Verdict::No);
    let failure = &report.failures[0];
    assert_eq!(failure.order.len() + failure.stuck.len(), failure.prefix.len());
    assert_eq!(failure.stuck.len(), 1);
    failure.reason.clone()
}

#[test]
fn an_old_answer_is_right_for_its_index() {
    assert_fits(&[miss(1), miss(2)]);
    assert_fits(&[read("a", 3, 3, 0), read("a", 3, 5, 3)]);
    // Going back is no fault of a client that did not ask for more.
    assert_fits(&[read("b", 6, 8, 7), read("a", 3, 4, 0), miss(9), miss(700)]);
    let missed = failed("not_found", index(12, asked(1, "read", json!({"min_index": 12}), 90, 95)));
    assert_fits(&[missed]);
}

#[test]
fn an_answer_that_is_wrong_for_its_index_is_found() {
    assert_eq!(reason(with(&[read("a", 3, 6, 0)])), "at index 6 the newest revision is 6, not 3");
    assert_eq!(reason(with(&[read("b", 6, 9, 0)])), "at index 9 the newest revision is 9, not 6");
    assert_eq!(reason(with(&[read("b", 6, 5, 0)])), "revision 6 was not there yet at index 5");
    assert_eq!(reason(with(&[read("b", 3, 4, 0)])), r#"revision 3 is both "a" and "b""#);
    assert_eq!(reason(with(&[read("b", 9, 9, 0)])), r#"revision 9 is both null and "b""#);
    assert_eq!(reason(with(&[read("?", 4, 4, 0)])), r#"nobody wrote "?" at revision 4"#);
    assert_eq!(reason(with(&[read("a", 3, 4, 5)])), "index 4 was answered where 5 was asked for");
    assert_eq!(reason(with(&[miss(4)])), "at index 4 there is revision 3, and nobody deleted it");
    let missed = failed("not_found", index(7, asked(1, "read", Value::Null, 90, 95)));
    assert_eq!(reason(with(&[missed])), "at index 7 there is revision 6, and nobody deleted it");
    assert_eq!(reason(with(&[write("c", 6, (70, 80))])), r#"revision 6 is both "b" and "c""#);
}

#[test]
fn what_nobody_acknowledged_explains_only_what_it_asked_for() {
    let lost =
        |value: &str, call_ns| unknown(asked(2, "write", json!({"value": value}), call_ns, call_ns + 1));
    assert_fits(&[lost("c", 40), read("c", 8, 8, 0), read("c", 8, 8, 8)]);
    assert_eq!(reason(with(&[lost("d", 40), read("c", 8, 8, 0)])), r#"nobody wrote "c" at revision 8"#);
    // It explains one revision, and not one that was read before it was asked for.
    assert!(
        reason(with(&[lost("c", 40), read("c", 8, 8, 0), read("c", 7, 7, 0)])).starts_with("nobody wrote")
    );
    assert_eq!(reason(with(&[lost("c", 5_000), read("c", 8, 8, 0)])), r#"nobody wrote "c" at revision 8"#);
    // Once it was seen, it counts like any other.
    assert_eq!(
        reason(with(&[lost("c", 40), read("c", 8, 8, 0), miss(8)])),
        "at index 8 there is revision 8, and nobody deleted it"
    );
    let deleted = unknown(asked(2, "delete", Value::Null, 35, 36));
    assert_fits(&[deleted.clone(), read("b", 6, 6, 0), miss(7), miss(8)]);
    assert_eq!(
        reason(with(&[deleted, read("b", 6, 8, 0), miss(7)])),
        "revision 6 is absent at index 7, and there later on"
    );
}

#[test]
fn what_was_found_was_written_before() {
    let early = index(3, at(3, ok(1, "read", Value::Null, json!("z"), (0, 5))));
    let operations = vec![early, write("z", 3, (10, 20))];
    assert_eq!(reason(operations), "revision 3 was found before it was written");
}

/// A delete that was never answered happened once, or not at all.
#[test]
fn one_open_delete_explains_one_absence() {
    let delete = unknown(asked(2, "delete", Value::Null, 5, 6));
    let history = vec![write("a", 3, (0, 10)), miss(4), write("b", 6, (20, 30)), delete];
    assert_eq!(verdict(ModelName::Session, &history), Verdict::Yes);
    let twice = [history, vec![miss(8)]].concat();
    assert!(reason(twice).contains("nobody deleted it"));
}
