//! Whether the members answer, agree on a leader, and how many more of them may fail.

use super::asked::{Asked, Cluster};
use super::finding::Finding;
use crate::api::MemberStatus;
use std::collections::BTreeSet;

/// How far a learner may be behind to get a vote, in entries.
const LEARNER_LAG_MAX: u64 = 1_000;
/// How far a voter may be behind, in entries: seconds of a busy cluster. The alerts have the same limit.
const VOTER_LAG_MAX: u64 = 10_000;

/// Every member, and every URL that was given.
pub(super) fn answer(cluster: &Cluster) -> Finding {
    let check = "members";
    let met: BTreeSet<u64> = cluster.answers().map(|node| node.status.node.id).collect();
    let silent: Vec<&MemberStatus> =
        cluster.members().iter().filter(|member| !met.contains(&member.id)).collect();
    let reason = |member: &MemberStatus| {
        let url = member.http.trim_end_matches('/');
        let asked = cluster.asked.iter().find(|asked| asked.url.trim_end_matches('/') == url);
        asked
            .and_then(|asked| asked.answer.as_ref().err().cloned())
            .unwrap_or_else(|| "it was not met".into())
    };
    let is_member =
        |asked: &Asked| silent.iter().any(|member| member.http.trim_end_matches('/') == asked.url);
    let strangers = cluster.asked.iter().filter(|asked| !is_member(asked));
    let strangers =
        strangers.filter_map(|asked| Some(format!("{} ({})", asked.url, asked.answer.as_ref().err()?)));
    let named = silent.iter().map(|member| format!("{} ({})", member.name, reason(member)));
    let named: Vec<String> = named.chain(strangers).collect();
    if named.is_empty() {
        let names: Vec<&str> = cluster.answers().map(|node| node.name()).collect();
        return Finding::ok(check, format!("all answer: {}", names.join(", ")));
    }
    if silent.iter().all(|member| cluster.is_reached(member.id)) && silent.len() == named.len() {
        return Finding::warn(
            check,
            format!("no answer from {}", named.join(", ")),
            "The other members reach it, so only the way from here is closed, and this node's own figures are not judged",
            "ask from a machine that reaches all members, or see --advertise-http",
        );
    }
    let mend = match silent.first() {
        Some(member) => {
            let MemberStatus { name, id, .. } = member;
            format!(
                "start it, or see its log; if its folder is lost: lockstep member replace {name}; if it is gone for good: lockstep \
                 member remove {id}"
            )
        }
        None => "check --url; see its log".into(),
    };
    Finding::bad(
        check,
        format!("no answer from {}", named.join(", ")),
        "A node that is down counts for the majority as one that has failed",
        mend,
    )
}

/// Whether each node takes clients.
pub(super) fn ready(cluster: &Cluster) -> Finding {
    let waiting: Vec<&str> =
        cluster.answers().filter(|node| !node.is_ready).map(|node| node.name()).collect();
    if waiting.is_empty() {
        return Finding::ok("ready", "every node that answers serves clients");
    }
    Finding::bad(
        "ready",
        format!("not ready: {}", waiting.join(", ")),
        "Their clients get 503",
        "GET /readyz of the node says why",
    )
}

/// One leader, whom all of the cluster's nodes name.
pub(super) fn leader(cluster: &Cluster) -> Finding {
    let named: BTreeSet<Option<&str>> =
        cluster.parts().map(|node| node.status.leader.as_ref().map(|leader| leader.name.as_str())).collect();
    let check = "leader";
    match &named.into_iter().collect::<Vec<_>>()[..] {
        [] => Finding::unknown(check, "no member answers"),
        [Some(name)] if !has_majority(cluster) => Finding::bad(
            check,
            format!("nobody leads: {name} is the last one that the nodes know of"),
            "Without a leader nothing can be written",
            "start the nodes that are down; if a majority is lost for good: lockstep recover plan",
        ),
        [Some(name)] => Finding::ok(check, format!("{name}, and all agree")),
        [None] => Finding::bad(
            check,
            "no node knows one",
            "Without a leader nothing can be written",
            "start the nodes that are down; if a majority is lost for good: lockstep recover plan",
        ),
        several => {
            let names = several.iter().map(|name| name.unwrap_or("nobody"));
            Finding::warn(
                check,
                format!("nodes name different ones: {}", names.collect::<Vec<_>>().join(", ")),
                "An election may be going on, or a node is cut off",
                "ask again in some seconds; if it stays so, look at the links between the nodes",
            )
        }
    }
}

/// The voters, and how many of them answer.
fn voters_up(cluster: &Cluster) -> (Vec<&MemberStatus>, usize) {
    let voters: Vec<&MemberStatus> = cluster.members().iter().filter(|member| member.voter).collect();
    let up = voters.iter().filter(|voter| cluster.is_up(voter.id)).count();
    (voters, up)
}

fn has_majority(cluster: &Cluster) -> bool {
    let (voters, up) = voters_up(cluster);
    up > voters.len() / 2
}

/// How many more voters may fail.
pub(super) fn quorum(cluster: &Cluster) -> Finding {
    let check = "quorum";
    let (voters, up) = voters_up(cluster);
    if voters.is_empty() {
        return Finding::unknown(check, "no member answers");
    }
    let needed = voters.len() / 2 + 1;
    let seen = |more: &str| format!("{up} of {} voters answer{more}", voters.len());
    if up < needed {
        return Finding::bad(
            check,
            seen(&format!(", {needed} are needed")),
            "Nothing can be written, and linearizable reads fail",
            "start the others; if they are lost for good: lockstep recover plan",
        );
    }
    let more = up - needed;
    let seen = seen(&format!(", {more} more may fail"));
    let join = "lockstep serve --join URL with an empty folder adds one";
    if voters.len().is_multiple_of(2) && up == voters.len() {
        let why = "An even number of voters survives no more failures than one fewer, and is more likely to have one";
        return Finding::warn(check, seen, why, join);
    }
    if more == 0 {
        let why = match voters.len() {
            1 => "A cluster of one stops with its node, and its data is on one disk",
            _ => "The next failure stops writes",
        };
        let mend = if voters.len() == 1 { join } else { "start the voters that are down" };
        return Finding::warn(check, seen, why, mend);
    }
    Finding::ok(check, seen)
}

/// How far members are behind the leader, as the nodes themselves say, and whether a change of them is half done.
pub(super) fn lag(cluster: &Cluster) -> Finding {
    let check = "lag";
    let nodes = match &cluster.nodes {
        Ok(nodes) => nodes,
        Err(reason) => return Finding::unknown(check, reason),
    };
    let behind = nodes.nodes.iter().filter_map(|node| {
        let limit = if node.voter { VOTER_LAG_MAX } else { LEARNER_LAG_MAX };
        let lag = node.lag_entries.filter(|lag| *lag > limit)?;
        Some(format!("{} is {lag} entries behind", node.name))
    });
    let behind: Vec<String> = behind.collect();
    if !behind.is_empty() {
        return Finding::warn(
            check,
            behind.join(", "),
            "Linearizable reads wait there, and a learner gets no vote",
            "if it stays so, compare its disk and network with the others': lockstep bench put --to leader",
        );
    }
    let silent: Vec<String> =
        nodes.nodes.iter().filter(|node| node.report.is_none()).map(|node| node.name.clone()).collect();
    if nodes.members.joint {
        return Finding::warn(
            check,
            "a change of the members has stopped half way",
            "Until it is done every decision needs two majorities",
            "the leader goes on with it by itself; start the voters that are down",
        );
    }
    let most = nodes.nodes.iter().filter_map(|node| node.lag_entries).max().unwrap_or(0);
    Finding::ok(check, format!("at most {most} entries behind the leader")).without(&silent)
}
