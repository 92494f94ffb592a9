//! `lockstep check-history`, as people run it.

use crate::support::{asked, at, history, ok, unknown};
use lockstep::check::{History, HistoryWriter, ModelName, Operation};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn run(dir: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    let output = command.arg("check-history").args(arguments).current_dir(dir.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn last_json(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn save(dir: &Path, name: &str, history: &History) -> PathBuf {
    let path = dir.join(name);
    let mut writer = HistoryWriter::new(File::create(&path).unwrap(), &history.header).unwrap();
    history.operations.iter().for_each(|operation| writer.push(operation).unwrap());
    writer.finish().unwrap();
    path
}

fn register(operations: &[Operation]) -> History {
    history(ModelName::Register, operations.to_vec())
}

/// A folder with a history that is right, one that is not, and one that would take for ever.
fn files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = at(3, ok(1, "write", json!("a"), Value::Null, (1_000_000, 2_000_000)));
    let read = |result| ok(2, "read", Value::Null, result, (3_000_000, 4_500_000));
    save(dir.path(), "yes.jsonl", &register(&[write.clone(), at(3, read(json!("a")))]));
    save(dir.path(), "no.jsonl", &register(&[write.clone(), read(Value::Null), at(9, write)]));
    let adds =
        (0..60).map(|client| unknown(asked(client, "add", json!(2_i64.pow(client as u32 % 30) * 2), 0, 1)));
    let odd = ok(99, "read", Value::Null, json!(12_345), (5, 6));
    save(dir.path(), "undecided.jsonl", &history(ModelName::Counter, adds.chain([odd]).collect()));
    dir
}

#[test]
fn exit_codes_tell_the_verdicts() {
    let dir = files();
    assert_eq!(run(&dir, &["yes.jsonl"]).0, 0);
    let (code, _, error) = run(&dir, &["yes.jsonl", "no.jsonl"]);
    assert_eq!((code, error.as_str()), (7, "lockstep: not linearizable\n"));
    let (code, out, error) = run(&dir, &["undecided.jsonl", "--deadline-s", "1"]);
    assert_eq!((code, error.as_str()), (8, "lockstep: not decided whether it is linearizable\n"));
    assert!(out.contains("key `k`: undecided, there was not enough time"), "{out}");
    assert_eq!(
        run(&dir, &["no.jsonl", "undecided.jsonl", "--deadline-s", "1"]).0,
        7,
        "one that is wrong is enough"
    );

    fs::write(dir.path().join("bad.jsonl"), "{\"format\":\"lockstep-history\"}\n").unwrap();
    let (code, _, error) = run(&dir, &["bad.jsonl"]);
    assert_eq!(code, 2);
    assert!(error.contains("bad.jsonl is no history: line 1: missing field"), "{error}");
    let (code, _, error) = run(&dir, &["missing.jsonl"]);
    assert_eq!(code, 2);
    assert!(error.contains("cannot open missing.jsonl"), "{error}");
    assert_eq!(run(&dir, &[]).0, 2);
    assert_eq!(run(&dir, &["yes.jsonl", "no.jsonl", "--html", "out.html"]).0, 2);
    assert_eq!(run(&dir, &["yes.jsonl", "--deadline-s", "0"]).0, 2);
}

#[test]
fn words_show_what_fits_nowhere() {
    let dir = files();
    let (_, out, _) = run(&dir, &["no.jsonl"]);
    assert!(out.starts_with("no.jsonl: no (3 operations: 3 ok, 0 failed, 0 unknown; keys: 1; "), "{out}");
    let rows: Vec<Vec<&str>> = out.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{out}");
    assert_eq!(rows[0].join(" "), r#"1 client 1 1.000..2.000 ms write "a" -> ok (revision 3)"#);
    assert_eq!(rows[2].join(" "), "stuck client 2 3.000..4.500 ms read -> null");
}

#[test]
fn json_is_one_object_on_the_last_line() {
    let dir = files();
    let (code, out, _) = run(&dir, &["yes.jsonl", "no.jsonl", "--json"]);
    assert_eq!(code, 7);
    let report = last_json(&out);
    assert_eq!(report["verdict"], "no");
    let counts = ["operations", "ok", "fail", "unknown", "keys"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [5, 5, 0, 0, 2]);
    assert!(report["elapsed_ms"].is_u64());
    let failure = &report["failures"][0];
    assert_eq!((failure["file"].as_str(), failure["key"].as_str()), (Some("no.jsonl"), Some("k")));
    assert_eq!(failure["shortest"], true);
    assert_eq!(failure["prefix"][2]["op"], "read");
    assert_eq!(failure["stuck"], json!([2]));
    assert_eq!(report["files"][0]["verdict"], "yes");
}

#[test]
fn revisions_may_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let writes = [7, 6].map(|revision| {
        let from = 100 - 10 * revision;
        at(revision, asked(0, "write", json!("a"), from, from + 5))
    });
    save(dir.path(), "h.jsonl", &register(&writes));
    assert_eq!(run(&dir, &["h.jsonl"]).0, 7);
    assert_eq!(run(&dir, &["h.jsonl", "--without-revisions"]).0, 0);
}

#[test]
fn a_jepsen_log_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let lines =
        ["0\t:invoke\t:write\t4", "0\t:ok\t:write\t4", "1\t:invoke\t:read\tnil", "1\t:ok\t:read\tnil"];
    let log: String = lines.map(|line| format!("INFO  jepsen.util - {line}\n")).concat();
    fs::write(dir.path().join("etcd.log"), log).unwrap();
    assert_eq!(run(&dir, &["etcd.log"]).0, 7);
}

/// Whatever a history says, the page shows it as text.
#[test]
fn the_page_is_self_contained_and_escapes_everything() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "</text><script>alert('1')</script>&\"\u{0}";
    let write = Operation { node: evil.into(), ..at(3, ok(1, "write", json!(evil), Value::Null, (0, 1))) };
    let read = ok(2, "read", Value::Null, json!(evil.repeat(2)), (2, 3));
    let odd = unknown(Operation { error: Some(evil.into()), ..asked(3, "write", json!(evil), 0, 1) });
    let operations = [write, read, odd].map(|operation| Operation { key: evil.into(), ..operation });
    save(dir.path(), "h.jsonl", &register(&operations));
    let (code, _, error) = run(&dir, &["h.jsonl", "--html", "out.html"]);
    assert_eq!(code, 7, "{error}");
    let page = fs::read_to_string(dir.path().join("out.html")).unwrap();
    for wrong in ["<script", "alert('", "http://", "https://", "src=", "@import", "\u{0}"] {
        assert!(!page.contains(wrong), "{wrong} in {page}");
    }
    assert!(page.contains("&lt;script&gt;"));
    assert_eq!(balance(&page), 0, "{page}");
    assert!(page.contains("prefers-color-scheme:dark"));
    assert!(page.contains("fits nowhere"));
    assert_eq!(page.matches("class=\"bar\"").count(), 3);

    let (code, ..) = run(&dir, &["h.jsonl", "--html", "no/such/folder.html"]);
    assert_eq!(code, 1);
}

/// How many elements are opened and never closed.
fn balance(page: &str) -> i64 {
    let count = |what: &str| page.matches(what).count() as i64;
    ["svg", "g", "text", "title", "section", "ol", "ul", "li", "p", "style", "div", "body", "html"]
        .map(|name| count(&format!("<{name}>")) + count(&format!("<{name} ")) - count(&format!("</{name}>")))
        .iter()
        .map(|difference| difference.abs())
        .sum()
}
