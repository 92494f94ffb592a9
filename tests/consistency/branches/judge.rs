//! What must hold of all that the clients were told.

use super::clients::Recorded;
use lockstep::check::{Header, History, ModelName, Operation, Options, Outcome, Verdict, check};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// A history that grew from another one.
#[derive(Debug, Clone)]
pub struct Branch {
    /// Its id.
    pub history: String,
    /// The last index that it shares with the trunk.
    pub fork_index: u64,
}

/// When the changes of a side came in.
#[derive(Debug, Clone, Copy)]
pub struct Merged {
    pub began_ns: u64,
    pub ended_ns: u64,
}

/// What came to be of everything.
pub struct Ending {
    /// Each register's value at the end, and every element of the set.
    pub registers: BTreeMap<String, Option<i64>>,
    pub set: BTreeSet<u64>,
    /// Values in files of losers, of whatever key.
    pub lost: BTreeSet<(String, String)>,
}

/// Whether an operation belongs to a side.
type Belongs<'a> = &'a dyn Fn(&Recorded) -> bool;

/// What was found wrong, in sentences.
pub fn judge(all: &[Recorded], trunk: &str, branch: &Branch, merged: Merged, ending: &Ending) -> Vec<String> {
    let mut wrong = Vec::new();
    let Branch { history, fork_index } = branch;
    let of = |recorded: &Recorded, id: &str| recorded.history.as_deref() == Some(id);
    // The trunk up to the fork, and the branch until its changes come in.
    let first_ns =
        all.iter().filter(|recorded| of(recorded, history)).map(|recorded| recorded.operation.call_ns);
    let first_ns = first_ns.min().unwrap_or(u64::MAX);
    let shared = |recorded: &Recorded| {
        let operation = &recorded.operation;
        // The trunk may have stood still since, and what is read there then is older than what the branch has.
        let is_early = operation.op != "read" || operation.return_ns.is_some_and(|at| at < first_ns);
        of(recorded, trunk) && is_early && operation.index.is_some_and(|index| index <= *fork_index)
    };
    let before = |recorded: &Recorded| recorded.operation.return_ns.is_some_and(|at| at < merged.began_ns);
    let sides: [(&str, Belongs<'_>); 2] = [
        ("the branch", &|recorded| shared(recorded) || (of(recorded, history) && before(recorded))),
        ("the trunk", &|recorded| of(recorded, trunk) && before(recorded)),
    ];
    for (name, belongs) in sides {
        let operations = side(all, belongs, merged.began_ns);
        let history = History { header: Header::new(ModelName::Register), operations };
        let found = check(&history, &Options { deadline: CHECK_LIMIT, use_revisions: true });
        if found.verdict != Verdict::Yes {
            let why: Vec<String> = found
                .failures
                .iter()
                .map(|failure| format!("{}: {}", failure.key, failure.reason))
                .chain(found.undecided.iter().map(|doubt| format!("{}: {}", doubt.key, doubt.reason)))
                .collect();
            wrong.push(format!("{name} is {}: {}", found.verdict.as_str(), why.join("; ")));
        }
    }
    wrong.extend(missing(all, ending));
    wrong.extend(came_back(all, trunk, branch, merged, ending));
    wrong
}

/// The register operations of a side; what nobody knows the outcome of may have happened on it.
fn side(all: &[Recorded], belongs: Belongs<'_>, until_ns: u64) -> Vec<Operation> {
    let is_register = |recorded: &&Recorded| recorded.operation.key.starts_with("register");
    let taken = all.iter().filter(is_register).filter_map(|recorded| {
        let operation = &recorded.operation;
        let maybe =
            operation.outcome == Outcome::Unknown || operation.return_ns.is_none_or(|at| at >= until_ns);
        if operation.outcome != Outcome::Fail && belongs(recorded) {
            return Some(operation.clone());
        }
        let is_write = operation.op != "read";
        let may_be = operation.outcome != Outcome::Fail && maybe && is_write && operation.call_ns < until_ns;
        may_be.then(|| Operation {
            outcome: Outcome::Unknown,
            return_ns: None,
            revision: None,
            index: None,
            // It never ends, so it has a client of its own.
            client: u64::MAX / 2 + operation.call_ns,
            ..operation.clone()
        })
    });
    taken.collect()
}

/// Acknowledged elements that are neither there nor in a file.
fn missing(all: &[Recorded], ending: &Ending) -> Vec<String> {
    let added = all
        .iter()
        .filter(|recorded| recorded.operation.op == "add" && recorded.operation.outcome == Outcome::Ok);
    let mut wrong = Vec::new();
    for recorded in added {
        let operation = &recorded.operation;
        let number = operation.argument.as_u64().unwrap_or(0);
        let is_kept = ending.set.contains(&number)
            || ending.lost.contains(&(operation.key.clone(), number.to_string()));
        if !is_kept {
            let history = recorded.history.as_deref().unwrap_or_default();
            wrong.push(format!("{} was acknowledged by history {history} and is nowhere", operation.key));
        }
    }
    wrong
}

/// Values from before the fork that were read after the merge, although somebody was told that they are replaced.
fn came_back(all: &[Recorded], trunk: &str, branch: &Branch, merged: Merged, ending: &Ending) -> Vec<String> {
    let is_trunk = |recorded: &Recorded| recorded.history.as_deref() == Some(trunk);
    let is_before = |recorded: &Recorded| {
        is_trunk(recorded) && recorded.operation.index.is_some_and(|index| index <= branch.fork_index)
    };
    let is_change = |operation: &Operation| {
        operation.outcome == Outcome::Ok && (operation.op == "write" || operation.op == "delete")
    };
    let mut wrong = Vec::new();
    for (key, value) in &ending.registers {
        let changes: Vec<&Recorded> = all
            .iter()
            .filter(|recorded| recorded.operation.key == *key && is_change(&recorded.operation))
            .collect();
        let old: BTreeSet<i64> = changes
            .iter()
            .filter(|recorded| is_before(recorded))
            .filter_map(|recorded| recorded.operation.argument.as_i64())
            .collect();
        // And what a side itself had replaced by then.
        let replaced = changes.iter().filter(|recorded| {
            let after = |other: &&&Recorded| {
                other.history == recorded.history
                    && other.operation.index > recorded.operation.index
                    && other.operation.return_ns.is_some_and(|at| at < merged.began_ns)
            };
            changes.iter().any(|other| after(&&&**other))
        });
        let replaced: BTreeSet<i64> =
            replaced.filter_map(|recorded| recorded.operation.argument.as_i64()).collect();
        let is_replaced = changes.iter().any(|recorded| {
            !is_before(recorded) && recorded.operation.return_ns.is_some_and(|at| at < merged.began_ns)
        });
        let reads = all.iter().filter(|recorded| {
            let operation = &recorded.operation;
            operation.key == *key
                && operation.op == "read"
                && operation.outcome == Outcome::Ok
                && operation.call_ns > merged.ended_ns
        });
        let seen = reads.filter_map(|recorded| recorded.operation.result.as_i64());
        let is_back = |seen: &i64| replaced.contains(seen) || is_replaced && old.contains(seen);
        for back in seen.chain(*value).filter(is_back) {
            wrong.push(format!("{key} is {back} again, which was replaced"));
        }
    }
    wrong
}
