//! Logs of Jepsen's test of an etcd register: who invoked what, and how it ended, a line each.
//!
//! ```text
//! INFO  jepsen.util - 3   :invoke :cas    [1 2]
//! INFO  jepsen.util - 3   :fail   :cas    [1 2]
//! ```
//!
//! There are no times in them, but the order of the lines is that of the events, so each is taken for a
//! millisecond. A `:cas` that failed saw that
//! the value was another; whatever else failed saw nothing. What ended with `:info`, or has no end, is unknown.

use super::{Header, History, HistoryError, ModelName, Operation, Outcome};
use crate::api::ErrorCode;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Reads the lines of a log, each with its number, counted from 0.
pub(super) fn read<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<History, HistoryError> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut under_way: HashMap<u64, usize> = HashMap::new();
    for (number, line) in lines {
        let Some(event) = Event::of(line) else { continue };
        let wrong = |what: String| HistoryError { line: number + 1, what };
        let at_ns = number as u64 * 1_000_000;
        if event.kind == ":invoke" {
            let operation = event.invocation(at_ns).map_err(wrong)?;
            if under_way.insert(event.process, operations.len()).is_some() {
                return Err(wrong(format!("process {} has not ended what it began", event.process)));
            }
            operations.push(operation);
        } else {
            let began = under_way.remove(&event.process);
            let began = began.ok_or_else(|| wrong(format!("process {} began nothing", event.process)))?;
            event.end(at_ns, &mut operations[began]).map_err(wrong)?;
        }
    }
    if operations.is_empty() {
        let what = "this is neither a history nor a log of Jepsen's".into();
        return Err(HistoryError { line: 1, what });
    }
    Ok(History { header: Header::new(ModelName::Register), operations })
}

/// A line about a client; others tell of the test itself.
struct Event<'a> {
    process: u64,
    kind: &'a str,
    function: &'a str,
    value: String,
}

impl<'a> Event<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some("INFO") || words.next() != Some("jepsen.util") || words.next() != Some("-") {
            return None;
        }
        let process = words.next()?.parse().ok()?;
        let (kind, function) = (words.next()?, words.next()?);
        Some(Self { process, kind, function, value: words.collect::<Vec<_>>().join(" ") })
    }

    fn invocation(&self, at_ns: u64) -> Result<Operation, String> {
        let argument = match self.function {
            ":read" => Value::Null,
            ":write" => number(&self.value)?,
            ":cas" => {
                let pair = self.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let pair = pair.and_then(|pair| pair.split_once(' '));
                let (from, to) = pair.ok_or_else(|| format!("`{}` is no pair", self.value))?;
                json!({"from": number(from)?, "to": number(to)?})
            }
            other => return Err(format!("a register knows :read, :write and :cas, not `{other}`")),
        };
        Ok(Operation {
            client: self.process,
            node: String::new(),
            key: "register".into(),
            op: self.function.trim_start_matches(':').into(),
            argument,
            result: Value::Null,
            revision: None,
            index: None,
            call_ns: at_ns,
            return_ns: None,
            outcome: Outcome::Unknown,
            error: None,
        })
    }

    fn end(&self, at_ns: u64, operation: &mut Operation) -> Result<(), String> {
        if self.function.trim_start_matches(':') != operation.op {
            return Err(format!(
                "process {} began a {}, and ends a {}",
                self.process, operation.op, self.function
            ));
        }
        operation.return_ns = Some(at_ns);
        match (self.kind, self.function) {
            (":ok", ":read") => {
                operation.outcome = Outcome::Ok;
                operation.result = if self.value == "nil" { Value::Null } else { number(&self.value)? };
            }
            (":ok", _) => operation.outcome = Outcome::Ok,
            (":fail", function) => {
                operation.outcome = Outcome::Fail;
                let saw = (function == ":cas").then(|| ErrorCode::PreconditionFailed.to_string());
                operation.error = saw.or_else(|| Some(self.value.clone()));
            }
            (":info", _) => operation.error = Some(self.value.clone()),
            (other, _) => return Err(format!("operations end with :ok, :fail or :info, not `{other}`")),
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<Value, String> {
    text.parse::<i64>().map(Value::from).map_err(|_| format!("`{text}` is no number"))
}
