//! Histories as files: what is written comes back, and what is wrong is refused with its line.

use crate::simulation::{Plan, legal};
use crate::support::{BOUNDS, Random, asked, at, failed, history, ok, unknown};
use lockstep::api::{Effect, ErrorCode};
use lockstep::check::{Header, History, HistoryWriter, ModelName, Outcome};
use serde_json::{Value, json};

fn written(history: &History) -> String {
    let mut writer = HistoryWriter::new(Vec::new(), &history.header).unwrap();
    history.operations.iter().for_each(|operation| writer.push(operation).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    History::read(text.as_bytes()).unwrap_err().to_string()
}

const REGISTER: &str = r#"{"format":"lockstep-history","version":1,"model":"register"}"#;
const SESSION: &str = r#"{"format":"lockstep-history","version":1,"model":"session"}"#;

#[test]
fn what_is_written_comes_back() {
    let mut random = Random::new("files");
    use ModelName::{Counter, List, Register, Set, Ttl};
    for model in [Register, Counter, List, Set, Ttl] {
        let mut history = history(model, legal(&Plan::long(model), &mut random).operations);
        history.header.about.insert("seed".into(), json!(7));
        assert_eq!(History::read(written(&history).as_bytes()).unwrap(), history);
    }
}

/// The format is other people's too, so it stays as it is, byte by byte.
#[test]
fn the_format_is_what_the_page_says() {
    let operations = vec![
        at(7, ok(1, "write", json!("a"), Value::Null, (10, 20))),
        ok(1, "read", Value::Null, Value::Null, (30, 40)),
        unknown(asked(2, "delete", json!({"revision": 7}), 15, 16)),
        at(7, failed("precondition_failed", asked(3, "cas", json!({"revision": null, "value": 1}), 50, 60))),
    ];
    assert_eq!(
        written(&history(ModelName::Register, operations)),
        [
            REGISTER,
            r#"{"client":1,"key":"k","op":"write","argument":"a","revision":7,"call_ns":10,"return_ns":20,"outcome":"ok"}"#,
            r#"{"client":1,"key":"k","op":"read","call_ns":30,"return_ns":40,"outcome":"ok"}"#,
            r#"{"client":2,"key":"k","op":"delete","argument":{"revision":7},"call_ns":15,"outcome":"unknown"}"#,
            r#"{"client":3,"key":"k","op":"cas","argument":{"revision":null,"value":1},"revision":7,"call_ns":50,"return_ns":60,"outcome":"fail","error":"precondition_failed"}"#,
            ""
        ]
        .join("\n")
    );
    let header =
        r#"{"format":"lockstep-history","version":1,"model":"ttl","bounds":{"early_ms":2,"late_ms":3}}"#;
    assert_eq!(serde_json::to_string(&Header::ttl(BOUNDS)).unwrap(), header);
}

#[test]
fn nulls_and_empty_lines_do_no_harm() {
    let line = r#"{"client":1,"node":"n1","key":"k","op":"read","argument":null,"result":null,"revision":null,"index":null,"call_ns":3,"return_ns":null,"outcome":"unknown","error":null}"#;
    let history = History::read(format!("\n{REGISTER}\n\n{line}\n\n").as_bytes()).unwrap();
    assert_eq!(
        history.operations,
        [unknown(lockstep::check::Operation { node: "n1".into(), ..asked(1, "read", Value::Null, 3, 4) })]
    );
}

#[test]
fn a_wrong_header_is_refused() {
    assert_eq!(refused(""), "line 1: there is nothing, not even a header");
    assert_eq!(refused("\nhello\n"), "line 1: this is neither a history nor a log of Jepsen's");
    assert!(refused("{}").starts_with("line 1: missing field `format`"));
    assert!(refused(&REGISTER.replace("lockstep-history", "x")).contains("the format is `x`"));
    assert_eq!(refused(&REGISTER.replace(":1", ":2")), "line 1: version 2 is not known, only 1");
    assert!(refused(&REGISTER.replace("register", "stack")).contains("unknown variant `stack`"));
    assert!(refused(&REGISTER.replace("register", "ttl")).contains("`bounds` belong to the model `ttl`"));
    assert!(refused(&REGISTER.replace("}", r#","seed":7}"#)).contains("unknown field `seed`"));
}

#[test]
fn a_wrong_line_is_refused_with_its_number() {
    let about = |header: &str, operation: Value| {
        let mut whole = json!({"client": 1, "key": "k", "call_ns": 10, "return_ns": 20, "outcome": "ok"});
        whole.as_object_mut().unwrap().extend(operation.as_object().unwrap().clone());
        let message = refused(&format!("{header}\n\n{whole}\n"));
        message.strip_prefix("line 3: ").expect("the line is named").to_string()
    };
    for (operation, complaint) in [
        (json!({"op": "read", "return_ns": 9}), "it returns before it is called"),
        (json!({"op": "read", "return_ns": null}), "without `return_ns` its outcome can only be unknown"),
        (json!({"op": "push"}), "the model knows read, write, cas and delete, not `push`"),
        (json!({"op": "write"}), "what is written must not be null"),
        (json!({"op": "delete", "argument": 3}), "a delete's argument is null or {\"revision\": number}"),
        (json!({"op": "cas", "argument": {"value": 3}}), "a cas's argument is"),
        (json!({"op": "read", "retrun_ns": 3}), "unknown field `retrun_ns`"),
        (json!({"op": "read", "outcome": "maybe"}), "unknown variant `maybe`"),
    ] {
        let message = about(REGISTER, operation);
        assert!(message.starts_with(complaint), "{message}");
    }
    let counter = REGISTER.replace("register", "counter");
    assert!(about(&counter, json!({"op": "add", "argument": "1"})).contains("a 64-bit number was expected"));
    let list = REGISTER.replace("register", "list");
    assert!(about(&list, json!({"op": "read", "result": 3})).contains("a list was expected, not 3"));
    assert!(about(&list, json!({"op": "read", "result": [null]})).contains("an item must not be null"));
    let ttl = serde_json::to_string(&Header::ttl(BOUNDS)).unwrap();
    assert!(
        about(&ttl, json!({"op": "put", "argument": {"value": 3, "ttl": 4}})).contains("a put's argument")
    );
    assert!(about(SESSION, json!({"op": "read"})).contains("`index`"));
    assert!(about(SESSION, json!({"op": "read", "index": 3, "result": 1})).contains("`revision`"));
    assert!(about(SESSION, json!({"op": "write", "argument": {"value": 1}})).contains("`revision`"));
    // A file that ends in the middle of a line, as a process leaves it that was killed.
    assert!(refused(&format!("{REGISTER}\n{{\"client\":1,\"ke")).starts_with("line 2: EOF"));
    let bytes = [REGISTER.as_bytes(), b"\n\xff\n"].concat();
    assert!(History::read(bytes.as_slice()).unwrap_err().to_string().contains("UTF-8"));
}

/// Operations that were not read from a file may make no sense either. Then nothing is known of their key.
#[test]
fn nonsense_is_undecided() {
    let nonsense = history(ModelName::Register, vec![ok(0, "push", json!(1), Value::Null, (0, 1))]);
    let report = crate::support::judged(&nonsense);
    assert_eq!(report.verdict, lockstep::check::Verdict::Undecided);
    assert!(report.undecided[0].reason.starts_with("operation 1 of the key: the model knows"));
}

#[test]
fn the_effect_of_an_error_is_the_outcome() {
    for &code in ErrorCode::ALL {
        let expected = if code.effect() == Effect::None { Outcome::Fail } else { Outcome::Unknown };
        assert_eq!(Outcome::from(code), expected, "{code}");
    }
}
