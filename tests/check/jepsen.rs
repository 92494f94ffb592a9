//! Logs of Jepsen's etcd test, in its words.

use crate::support::judged;
use lockstep::check::{History, ModelName, Outcome, Verdict};
use serde_json::{Value, json};

/// A log out of lines like `0 invoke write 3`.
fn log(lines: &[&str]) -> String {
    let line = |line: &&str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("four words");
        format!("INFO  jepsen.util - {}\t:{}\t:{}\t{}\n", word(), word(), word(), word())
    };
    lines.iter().map(line).collect()
}

fn read(lines: &[&str]) -> History {
    History::read(log(lines).as_bytes()).unwrap()
}

fn refused(lines: &[&str]) -> String {
    History::read(log(lines).as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_kind_of_line_is_understood() {
    let history = read(&[
        "0 invoke read nil",
        "1 invoke cas [1 2]",
        "0 ok read nil",
        "1 fail cas [1 2]",
        "2 invoke write 4",
        "0 invoke read nil",
        "0 fail read :timed-out",
        "2 info write :timed-out",
        "0 invoke read nil",
        "0 ok read 4",
        "3 invoke cas [4 0]",
    ]);
    assert_eq!(history.header.model, ModelName::Register);
    let operations = &history.operations;
    let outcomes: Vec<Outcome> = operations.iter().map(|operation| operation.outcome).collect();
    use Outcome::{Fail, Ok, Unknown};
    assert_eq!(outcomes, [Ok, Fail, Unknown, Fail, Ok, Unknown]);
    assert_eq!(operations[1].error.as_deref(), Some("precondition_failed"));
    assert_eq!(operations[1].argument, json!({"from": 1, "to": 2}));
    assert_eq!(operations[3].error.as_deref(), Some(":timed-out"));
    assert_eq!((&operations[0].result, &operations[4].result), (&Value::Null, &json!(4)));
    assert_eq!(operations[5].return_ns, None);
    assert_eq!(judged(&history).verdict, Verdict::Yes);
}

#[test]
fn spaces_do_as_well_as_tabs_and_other_lines_are_skipped() {
    let text = "INFO  jepsen.core - Running test\n\
                INFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
                INFO  jepsen.util - 12  :invoke :write  3\n\
                \n\
                INFO  jepsen.util - 12  :ok     :write  3\n\
                INFO  jepsen.util - 13  :invoke :read   nil\n\
                INFO  jepsen.util - 13  :ok     :read   nil\n";
    let history = History::read(text.as_bytes()).unwrap();
    assert_eq!(history.operations.len(), 2);
    assert_eq!(
        (history.operations[0].call_ns, history.operations[0].return_ns),
        (2_000_000, Some(4_000_000))
    );
    assert_eq!(judged(&history).verdict, Verdict::No, "the write got lost");
}

/// A swap that failed saw another value. So it is wrong where its value was all there was.
#[test]
fn a_failed_swap_is_an_observation() {
    let start = ["0 invoke write 1", "0 ok write 1", "1 invoke cas [1 2]", "1 fail cas [1 2]"];
    assert_eq!(judged(&read(&start)).verdict, Verdict::No);
    // A write that timed out may have been there for a moment, and only one that began in time.
    let timed_out = ["2 invoke write 3", "2 info write :timed-out"];
    assert_eq!(judged(&read(&[&timed_out[..], &start].concat())).verdict, Verdict::Yes);
    assert_eq!(judged(&read(&[&start[..], &timed_out].concat())).verdict, Verdict::No);
}

#[test]
fn nonsense_is_refused_with_its_line() {
    assert_eq!(refused(&["0 ok read 3"]), "line 1: process 0 began nothing");
    assert_eq!(
        refused(&["0 invoke read nil", "0 invoke read nil"]),
        "line 2: process 0 has not ended what it began"
    );
    assert_eq!(
        refused(&["0 invoke read nil", "0 ok write 3"]),
        "line 2: process 0 began a read, and ends a :write"
    );
    assert_eq!(refused(&["0 invoke write x"]), "line 1: `x` is no number");
    assert_eq!(refused(&["0 invoke cas 3"]), "line 1: `3` is no pair");
    assert!(refused(&["0 invoke append 3"]).contains(":append"));
    assert!(refused(&["0 invoke read nil", "0 maybe read 3"]).contains(":maybe"));
}
