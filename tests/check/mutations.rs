//! Faults planted into long histories that are right. Each must be found, whatever goes on around it.

use crate::simulation::{Legal, Plan, legal};
use crate::support::{MS, Random, asked, at, failed, history, judged, ok, shown, verdict};
use lockstep::check::{History, ModelName, Operation, Options, Outcome, Verdict, check};
use serde_json::{Value, json};

/// Histories of each model.
const HISTORIES: usize = 12;

/// A client that takes no other part.
const WITNESS: u64 = 99;

/// Builds operations that happen one after the other in the silence between the halves.
struct Silence {
    now_ns: u64,
    operations: Vec<Operation>,
}

impl Silence {
    fn then(mut self, op: &str, argument: Value, result: Value) -> Self {
        let operation = ok(WITNESS, op, argument, result, (self.now_ns, self.now_ns + MS));
        self.operations.push(operation);
        self.now_ns += 2 * MS;
        self
    }

    /// Gives the newest a revision.
    fn at(mut self, revision: u64) -> Self {
        let newest = self.operations.pop().expect("there is one");
        self.operations.push(at(revision, newest));
        self
    }

    /// The newest fails.
    fn failed(mut self, error: &str) -> Self {
        let newest = self.operations.pop().expect("there is one");
        self.operations.push(failed(error, newest));
        self
    }

    fn later(mut self, ms: u64) -> Self {
        self.now_ns += ms * MS;
        self
    }
}

fn silence(legal: &Legal) -> Silence {
    Silence { now_ns: legal.silence_ns, operations: Vec::new() }
}

/// What has to happen in the silence, by its name, and whether it can.
type Plants = Vec<(&'static str, Silence, Verdict)>;

fn plant(model: ModelName, plants: impl Fn(&Legal) -> Plants) {
    let mut random = Random::new(&format!("mutations of {model:?}"));
    for _ in 0..HISTORIES {
        // What nobody answered may take effect in the silence. A delete, a put or an expire then would explain the fault.
        let plan = Plan { answered: &["delete", "put", "expire"], ..Plan::long(model) };
        let legal = legal(&plan, &mut random);
        assert_eq!(verdict(model, &legal.operations), Verdict::Yes, "{}", shown(&legal.operations));
        let (first, second) = legal.operations.split_at(legal.half);
        for (name, silence, expected) in plants(&legal) {
            let told = shown(&silence.operations);
            // What follows the silence knows nothing of what was planted into it.
            let alone = expected == Verdict::Yes;
            let rest = if alone { &[][..] } else { second };
            let operations: Vec<Operation> = [first, &silence.operations, rest].concat();
            let report = judged(&history(model, operations));
            assert_eq!(report.verdict, expected, "{name}:\n{told}");
            if expected == Verdict::No {
                let failure = &report.failures[0];
                let stuck = &failure.prefix[failure.stuck[0]];
                assert!(failure.shortest);
                assert_eq!(stuck.client, WITNESS, "{name}: {stuck}\n{told}");
                assert!(silence.operations.contains(stuck), "{name}");
            }
        }
    }
}

#[test]
fn registers() {
    plant(ModelName::Register, |legal| {
        let (now, revision, null) = (legal.value.clone(), legal.revision, Value::Null);
        let next = revision + 1;
        let begin = || silence(legal);
        let there = |silence: Silence| if now.is_null() { silence } else { silence.at(revision) };
        // A write that is over for good, and one over it.
        let two = || {
            begin()
                .then("write", json!("a"), null.clone())
                .at(next)
                .then("write", json!("b"), null.clone())
                .at(next + 1)
        };
        vec![
            ("as it is", there(begin().then("read", null.clone(), now.clone())), Verdict::Yes),
            ("both writes", two().then("read", null.clone(), json!("b")).at(next + 1), Verdict::Yes),
            ("a value nobody wrote", begin().then("read", null.clone(), json!("?")).at(next), Verdict::No),
            ("a stale read", two().then("read", null.clone(), json!("a")).at(next), Verdict::No),
            ("a lost write", two().then("read", null.clone(), null.clone()), Verdict::No),
            (
                "a lost write, missed",
                two().then("read", null.clone(), null.clone()).failed("not_found"),
                Verdict::No,
            ),
            (
                "a read at another revision",
                two().then("read", null.clone(), json!("b")).at(next),
                Verdict::No,
            ),
            (
                "revisions that fall",
                {
                    begin()
                        .then("write", json!("a"), null.clone())
                        .at(next + 1)
                        .then("write", json!("b"), null.clone())
                        .at(next)
                },
                Verdict::No,
            ),
            (
                "revisions that stay",
                {
                    begin()
                        .then("write", json!("a"), null.clone())
                        .at(next)
                        .then("write", json!("b"), null.clone())
                        .at(next)
                },
                Verdict::No,
            ),
            (
                "a swap of a revision that is over",
                { two().then("cas", json!({"revision": next, "value": "c"}), null.clone()).at(next + 2) },
                Verdict::No,
            ),
            (
                "a swap of a value that is over",
                { two().then("cas", json!({"from": "a", "to": "c"}), null.clone()).at(next + 2) },
                Verdict::No,
            ),
            (
                "a swap of what is there",
                { two().then("cas", json!({"revision": next + 1, "value": "c"}), null.clone()).at(next + 2) },
                Verdict::Yes,
            ),
            (
                "a creation of what is there",
                { two().then("cas", json!({"revision": null, "value": "c"}), null.clone()).at(next + 2) },
                Verdict::No,
            ),
            (
                "a swap refused though it holds",
                {
                    two()
                        .then("cas", json!({"revision": next + 1, "value": "c"}), null.clone())
                        .at(next + 1)
                        .failed("precondition_failed")
                },
                Verdict::No,
            ),
            (
                "a swap refused at another revision",
                {
                    two()
                        .then("cas", json!({"revision": 1, "value": "c"}), null.clone())
                        .at(next)
                        .failed("precondition_failed")
                },
                Verdict::No,
            ),
            (
                "a swap refused",
                {
                    two()
                        .then("cas", json!({"revision": next, "value": "c"}), null.clone())
                        .at(next + 1)
                        .failed("precondition_failed")
                },
                Verdict::Yes,
            ),
            (
                "a delete that lost its effect",
                {
                    two()
                        .then("delete", null.clone(), null.clone())
                        .at(next + 2)
                        .then("read", null.clone(), json!("b"))
                        .at(next + 1)
                },
                Verdict::No,
            ),
            (
                "a delete of nothing",
                {
                    two()
                        .then("delete", null.clone(), null.clone())
                        .at(next + 2)
                        .then("delete", null.clone(), null.clone())
                        .at(next + 3)
                },
                Verdict::No,
            ),
            (
                "two deletes",
                {
                    two()
                        .then("delete", null.clone(), null.clone())
                        .at(next + 2)
                        .then("delete", null.clone(), null.clone())
                        .failed("not_found")
                },
                Verdict::Yes,
            ),
        ]
    });
}

/// Without revisions only what a value tells is found.
#[test]
fn registers_without_revisions() {
    let read = |value: &str, revision| at(revision, ok(1, "read", Value::Null, json!(value), (50, 60)));
    let writes =
        vec![at(7, asked(0, "write", json!("a"), 0, 10)), at(6, asked(0, "write", json!("b"), 20, 30))];
    let judge = |operations: Vec<Operation>, use_revisions| {
        check(&history(ModelName::Register, operations), &Options { use_revisions, ..Options::default() })
            .verdict
    };
    assert_eq!(judge(writes.clone(), true), Verdict::No);
    assert_eq!(judge(writes.clone(), false), Verdict::Yes);
    let with = |last| [writes.clone(), vec![last]].concat();
    assert_eq!(judge(with(read("b", 7)), false), Verdict::Yes);
    assert_eq!(judge(with(read("a", 7)), false), Verdict::No);
    // That there was something is no matter of revisions.
    let refused = failed("precondition_failed", asked(1, "cas", json!({"revision": 3, "value": 1}), 50, 60));
    assert_eq!(judge(with(refused.clone()), false), Verdict::No);
    assert_eq!(judge(with(at(3, refused)), false), Verdict::Yes);
}

#[test]
fn counters() {
    plant(ModelName::Counter, |legal| {
        let now = legal.value.as_i64().unwrap_or(0);
        let begin = || silence(legal);
        let add = |silence: Silence, sum: i64| silence.then("add", json!(1_000), json!(sum));
        let read = |silence: Silence, sum: Value| silence.then("read", Value::Null, sum);
        vec![
            ("as it is", add(begin(), now + 1_000), Verdict::Yes),
            ("an add that got lost", add(add(begin(), now + 1_000), now + 1_000), Verdict::No),
            ("an add carried out twice", read(add(begin(), now + 1_000), json!(now + 2_000)), Verdict::No),
            ("a stale read", read(add(begin(), now + 1_000), json!(now)), Verdict::No),
            ("a counter that got lost", read(add(begin(), now + 1_000), Value::Null), Verdict::No),
        ]
    });
}

#[test]
fn lists() {
    plant(ModelName::List, |legal| {
        let null = Value::Null;
        let plus = |more: &[&str]| {
            let mut items = legal.value.as_array().cloned().unwrap_or_default();
            items.extend(more.iter().map(|item| json!(item)));
            Value::Array(items)
        };
        let two = || {
            silence(legal).then("append", json!("a"), null.clone()).then("append", json!("b"), null.clone())
        };
        let read = |items: Value| two().then("read", Value::Null, items);
        let mut shuffled = plus(&["a", "b"]);
        shuffled.as_array_mut().expect("a list").swap(0, 1);
        vec![
            ("as it is", read(plus(&["a", "b"])), Verdict::Yes),
            ("an append that got lost", read(plus(&["a"])), Verdict::No),
            ("an append carried out twice", read(plus(&["a", "b", "b"])), Verdict::No),
            ("appends in the wrong order", read(plus(&["b", "a"])), Verdict::No),
            ("items that changed places", read(shuffled), Verdict::No),
            ("an item nobody appended", read(plus(&["a", "?", "b"])), Verdict::No),
            ("a list that got lost", read(Value::Null), Verdict::No),
            ("an answer that forgets", two().then("append", json!("c"), plus(&["a", "c"])), Verdict::No),
        ]
    });
}

#[test]
fn sets() {
    plant(ModelName::Set, |legal| {
        let plus = |more: &[&str]| {
            let mut items = legal.value.as_array().cloned().unwrap_or_default();
            items.extend(more.iter().map(|item| json!(item)));
            items.reverse();
            Value::Array(items)
        };
        let two = || silence(legal).then("add", json!("a"), Value::Null).then("add", json!("b"), Value::Null);
        let read = |items: Value| two().then("read", Value::Null, items);
        vec![
            ("as it is", read(plus(&["b", "a"])), Verdict::Yes),
            (
                "added again",
                two().then("add", json!("a"), Value::Null).then("read", Value::Null, plus(&["a", "b"])),
                Verdict::Yes,
            ),
            ("an add that got lost", read(plus(&["a"])), Verdict::No),
            ("a member that is there twice", read(plus(&["a", "b", "b"])), Verdict::No),
            ("a member nobody added", read(plus(&["a", "b", "?"])), Verdict::No),
            ("a set that got lost", read(Value::Null), Verdict::No),
        ]
    });
}

#[test]
fn times_to_live() {
    plant(ModelName::Ttl, |legal| {
        let null = Value::Null;
        let put =
            |value: &str| silence(legal).then("put", json!({"value": value, "ttl_ms": 50}), null.clone());
        let find = |silence: Silence, value: &str| silence.then("read", null.clone(), json!(value));
        let miss = |silence: Silence| silence.then("read", null.clone(), null.clone());
        vec![
            ("while it lives", find(put("a").later(40), "a"), Verdict::Yes),
            ("when it is over", miss(put("a").later(60)), Verdict::Yes),
            // Called at 0, answered at 1 ms; called again at 2 ms and more. 2 early, 3 late.
            ("as early as can be", miss(put("a").later(45)), Verdict::Yes),
            ("too early", miss(put("a").later(44)), Verdict::No),
            ("as late as can be", find(put("a").later(52), "a"), Verdict::Yes),
            ("too late", find(put("a").later(53), "a"), Verdict::No),
            ("back from the dead", find(miss(put("a").later(48)), "a"), Verdict::No),
            (
                "deleted, and still there",
                find(put("a").then("delete", null.clone(), null.clone()), "a"),
                Verdict::No,
            ),
            ("another value", find(put("a"), "b"), Verdict::No),
            (
                "nothing to delete",
                put("a").then("delete", null.clone(), null.clone()).failed("not_found"),
                Verdict::No,
            ),
            (
                "for ever",
                find(
                    silence(legal)
                        .then("put", json!({"value": "a", "ttl_ms": null}), null.clone())
                        .later(900),
                    "a",
                ),
                Verdict::Yes,
            ),
            (
                "not for ever",
                miss(
                    silence(legal)
                        .then("put", json!({"value": "a", "ttl_ms": null}), null.clone())
                        .later(900),
                ),
                Verdict::No,
            ),
        ]
    });
}

/// The same told in advance, and changed.
#[test]
fn times_to_live_that_are_told_and_changed() {
    plant(ModelName::Ttl, |legal| {
        let null = Value::Null;
        let put = || silence(legal).then("put", json!({"value": "a", "ttl_ms": 50}), null.clone());
        let left = |silence: Silence, ms: Value| silence.then("left", null.clone(), ms);
        let expire = |silence: Silence, ms: u64| silence.then("expire", json!({"ttl_ms": ms}), null.clone());
        let find = |silence: Silence| silence.then("read", null.clone(), json!("a"));
        let miss = |silence: Silence| silence.then("read", null.clone(), null.clone());
        vec![
            // Called at 0; asked at 12 ms, and answered at 13. 2 early.
            ("all is left", left(put().later(10), json!(50)), Verdict::Yes),
            ("more than all is left", left(put().later(10), json!(51)), Verdict::No),
            ("as little as can be", left(put().later(10), json!(35)), Verdict::Yes),
            ("too little", left(put().later(10), json!(34)), Verdict::No),
            ("nothing, as early as can be", left(put().later(45), null.clone()), Verdict::Yes),
            ("nothing, too early", left(put().later(44), null.clone()), Verdict::No),
            ("left of what is over", left(put().later(53), json!(1)), Verdict::No),
            ("it lives longer", find(expire(put(), 500).later(400)), Verdict::Yes),
            ("it should live longer", miss(expire(put(), 500).later(400)), Verdict::No),
            ("left of the longer life", left(expire(put(), 500).later(100), json!(400)), Verdict::Yes),
            // Called at 2 ms and answered at 3.
            ("a shorter life, as late as can be", find(expire(put(), 10).later(12)), Verdict::Yes),
            ("a shorter life, too late", find(expire(put(), 10).later(13)), Verdict::No),
            ("nothing was there", expire(put(), 10).failed("not_found"), Verdict::No),
            ("a longer life for what is gone", expire(miss(put().later(48)), 500), Verdict::No),
        ]
    });
}

/// A put that nobody answered may take effect at any time, so it is never late.
#[test]
fn an_unknown_put_lives_on() {
    let put = asked(0, "put", json!({"value": 1, "ttl_ms": 5}), 0, MS);
    let find = ok(1, "read", Value::Null, json!(1), (500 * MS, 501 * MS));
    assert_eq!(verdict(ModelName::Ttl, &[put.clone(), find.clone()]), Verdict::No);
    assert_eq!(verdict(ModelName::Ttl, &[crate::support::unknown(put), find]), Verdict::Yes);
}

/// Every beginning that is shorter than the shortest inexplicable one is explained, and every longer one is not.
#[test]
fn the_shortest_beginning_is_the_shortest() {
    let mut random = Random::new("shortest beginnings");
    for model in [ModelName::Register, ModelName::Counter, ModelName::Set] {
        let plan = Plan { operations: 40, ..Plan::long(model) };
        let mut operations = legal(&plan, &mut random).operations;
        let reads: Vec<usize> = (0..operations.len())
            .filter(|at| operations[*at].op == "read" && operations[*at].outcome == Outcome::Ok)
            .collect();
        let spoilt = *random.pick(&reads);
        operations[spoilt].result = if model == ModelName::Set { json!(["?"]) } else { json!(-9_999) };
        let report = judged(&history(model, operations.clone()));
        assert_eq!(report.verdict, Verdict::No, "{}", shown(&operations));
        let failure = &report.failures[0];
        assert_eq!(failure.prefix[failure.stuck[0]], operations[spoilt], "{}", shown(&operations));
        let mut returns: Vec<u64> = operations.iter().filter_map(|operation| operation.return_ns).collect();
        returns.sort_unstable();
        let end_ns = operations[spoilt].return_ns.expect("it was answered");
        for return_ns in returns {
            let beginning = until(&history(model, operations.clone()), return_ns);
            let expected = if return_ns < end_ns { Verdict::Yes } else { Verdict::No };
            assert_eq!(judged(&beginning).verdict, expected, "until {return_ns} of {end_ns}");
        }
    }
}

/// What is known of a history at a moment.
fn until(whole: &History, now_ns: u64) -> History {
    let called = whole.operations.iter().filter(|operation| operation.call_ns <= now_ns);
    let seen = called.map(|operation| match operation.return_ns {
        Some(return_ns) if return_ns <= now_ns => operation.clone(),
        _ => crate::support::unknown(Operation { error: None, ..operation.clone() }),
    });
    // A failure that is not known yet has no effect either, but nobody knows that: it is left out.
    let failed: Vec<&Operation> = whole
        .operations
        .iter()
        .filter(|operation| operation.outcome == Outcome::Fail && operation.return_ns > Some(now_ns))
        .collect();
    let is_failed = |seen: &Operation| {
        failed.iter().any(|failed| failed.call_ns == seen.call_ns && failed.client == seen.client)
    };
    let operations = seen.filter(|operation| !is_failed(operation)).collect();
    History { header: whole.header.clone(), operations }
}
