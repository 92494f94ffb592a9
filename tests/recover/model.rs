//! Random runs of a small Raft, which knows what was acknowledged, against what a plan says about it.

use super::refusals::{member, survivor};
use lockstep::lineage::TermStarts;
use lockstep::recover::{MembershipAt, Refusal, Survivor, plan};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODES: u64 = 5;

/// Sets of voters of which each needs a majority.
type Voters = Vec<BTreeSet<u64>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    term: u64,
    voters: Option<Voters>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    log: Vec<Entry>,
    term: u64,
    /// The number of entries that it knows to be committed.
    committed: usize,
    /// While it leads: how many of its entries each node is known to have.
    leads: Option<BTreeMap<u64, usize>>,
}

impl Node {
    fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len())
    }

    /// The newest membership, whether it is committed or not.
    fn voters(&self) -> (usize, Voters) {
        let found =
            self.log.iter().enumerate().rev().find_map(|(at, entry)| Some((at + 1, entry.voters.clone()?)));
        found.expect("the first entry has one")
    }
}

fn is_quorum(voters: &Voters, nodes: &BTreeSet<u64>) -> bool {
    voters.iter().all(|set| 2 * set.intersection(nodes).count() > set.len())
}

#[derive(Debug, Clone)]
enum Step {
    /// A node asks some others to elect it.
    Elect {
        node: u64,
        reached: BTreeSet<u64>,
    },
    Append {
        node: u64,
    },
    /// A leader sends its log to another node, without some entries at its end.
    Replicate {
        node: u64,
        to: u64,
        fewer: usize,
    },
    /// A leader begins to change the voters.
    Reconfigure {
        node: u64,
        to: BTreeSet<u64>,
    },
}

fn node() -> impl Strategy<Value = u64> {
    1..=NODES
}

fn some_nodes() -> impl Strategy<Value = BTreeSet<u64>> {
    prop::collection::btree_set(node(), 1..=NODES as usize)
}

fn step() -> impl Strategy<Value = Step> {
    let fewer = prop_oneof![4 => 0..3usize, 1 => 0..30usize];
    prop_oneof![
        2 => (node(), some_nodes()).prop_map(|(node, reached)| Step::Elect { node, reached }),
        6 => node().prop_map(|node| Step::Append { node }),
        12 => (node(), node(), fewer).prop_map(|(node, to, fewer)| Step::Replicate { node, to, fewer }),
        1 => (node(), some_nodes()).prop_map(|(node, to)| Step::Reconfigure { node, to }),
    ]
}

struct Raft {
    nodes: BTreeMap<u64, Node>,
    last_term: u64,
    /// Each committed entry, by its index.
    acknowledged: BTreeMap<usize, Entry>,
}

impl Raft {
    fn new(voters: &BTreeSet<u64>) -> Self {
        let first = Entry { term: 0, voters: Some(vec![voters.clone()]) };
        let node = Node { log: vec![first.clone()], committed: 1, ..Node::default() };
        Self {
            nodes: (1..=NODES).map(|id| (id, node.clone())).collect(),
            last_term: 0,
            acknowledged: BTreeMap::from([(1, first)]),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Elect { node, reached } => self.elect(*node, reached),
            Step::Append { node } => self.append(*node, None),
            Step::Replicate { node, to, fewer } => self.replicate(*node, *to, *fewer),
            Step::Reconfigure { node, to } => {
                let (at, voters) = self.nodes[node].voters();
                if voters.len() == 1 && at <= self.nodes[node].committed {
                    self.append(*node, Some(vec![voters[0].clone(), to.clone()]));
                }
            }
        }
    }

    fn elect(&mut self, candidate: u64, reached: &BTreeSet<u64>) {
        let (last, (_, voters)) = (self.nodes[&candidate].last(), self.nodes[&candidate].voters());
        self.last_term += 1;
        let mut votes = BTreeSet::from([candidate]);
        for id in reached {
            let node = self.nodes.get_mut(id).expect("it exists");
            node.term = self.last_term;
            node.leads = None;
            if node.last() <= last {
                votes.insert(*id);
            }
        }
        let node = self.nodes.get_mut(&candidate).expect("it exists");
        (node.term, node.leads) = (self.last_term, None);
        if voters.iter().flatten().any(|voter| *voter == candidate) && is_quorum(&voters, &votes) {
            node.leads = Some(BTreeMap::new());
            self.append(candidate, None);
        }
    }

    fn append(&mut self, leader: u64, voters: Option<Voters>) {
        let node = self.nodes.get_mut(&leader).expect("it exists");
        if node.leads.is_some() {
            node.log.push(Entry { term: node.term, voters });
            self.commit(leader);
        }
    }

    fn replicate(&mut self, leader: u64, to: u64, fewer: usize) {
        let Node { log, term, leads, committed } = self.nodes[&leader].clone();
        if leads.is_none() || leader == to {
            return;
        }
        let node = self.nodes.get_mut(&to).expect("it exists");
        if node.term > term {
            // The leader learns of the later term.
            let later = node.term;
            let node = self.nodes.get_mut(&leader).expect("it exists");
            (node.term, node.leads) = (later, None);
            return;
        }
        (node.term, node.leads) = (term, None);
        let count = log.len() - fewer.min(log.len() - 1);
        let sent = &log[..count];
        if !node.log.starts_with(sent) {
            node.log = sent.to_vec();
        }
        node.committed = node.committed.max(committed.min(count));
        let matched = self.nodes.get_mut(&leader).expect("it exists").leads.as_mut().expect("it leads");
        let known = matched.entry(to).or_default();
        *known = (*known).max(count);
        self.commit(leader);
    }

    /// What a majority has of an entry of the leader's own term is committed, and all before it.
    fn commit(&mut self, leader: u64) {
        let node = self.nodes[&leader].clone();
        let (at, voters) = node.voters();
        let matched = node.leads.as_ref().expect("it leads");
        let has = |count: usize| -> BTreeSet<u64> {
            let others = matched.iter().filter(|(_, matched)| **matched >= count).map(|(id, _)| *id);
            others.chain([leader]).collect()
        };
        let own = (1..=node.log.len()).rev().filter(|count| node.log[count - 1].term == node.term);
        let Some(count) = own.into_iter().find(|count| is_quorum(&voters, &has(*count))) else { return };
        if count <= node.committed {
            return;
        }
        for index in node.committed + 1..=count {
            let before = self.acknowledged.insert(index, node.log[index - 1].clone());
            assert!(before.is_none_or(|before| before == node.log[index - 1]), "the model itself is wrong");
        }
        self.nodes.get_mut(&leader).expect("it exists").committed = count;
        if at <= count && voters.len() == 2 {
            self.append(leader, Some(vec![voters[1].clone()]));
        }
    }

    fn survivor(&self, id: u64) -> Survivor {
        let node = &self.nodes[&id];
        let mut memberships: Vec<MembershipAt> = Vec::new();
        for (at, entry) in node.log.iter().enumerate() {
            let Some(voters) = entry.voters.clone() else { continue };
            if at < node.committed {
                memberships.clear();
            }
            memberships.push(MembershipAt {
                index: at as u64 + 1,
                voters,
                members: (1..=NODES).map(member).collect(),
            });
        }
        let (term, index) = node.last();
        let mut terms = TermStarts::default();
        node.log.iter().zip(1..).for_each(|(entry, index)| terms.note(entry.term, index));
        let found = survivor(id, (term, index as u64), node.committed as u64, memberships);
        Survivor { term_starts: terms.iter().collect(), ..found }
    }
}

/// What happened, for the count of how often each case is met.
#[derive(Debug, Default)]
struct Seen {
    proven: u32,
    unproven: u32,
    lost: u32,
    refused: u32,
}

fn check(
    voters: &BTreeSet<u64>,
    steps: &[Step],
    left: &BTreeSet<u64>,
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    let mut raft = Raft::new(voters);
    steps.iter().for_each(|step| raft.take(step));
    let survivors: Vec<Survivor> = left.iter().map(|id| raft.survivor(*id)).collect();
    let lost: Vec<String> = (1..=NODES).filter(|id| !left.contains(id)).map(|id| format!("n{id}")).collect();
    let planned = plan(&survivors, &lost, "new".into(), 0);
    let Ok(planned) = planned else {
        prop_assert_eq!(planned.expect_err("refused"), Refusal::MajorityIsLeft);
        seen.refused += 1;
        // Raft would elect: somebody whose log is as good as anybody's, and whose voters are there.
        let best = left.iter().max_by_key(|id| raft.nodes[id].last()).expect("somebody is left");
        prop_assert!(is_quorum(&raft.nodes[best].voters().1, left));
        return Ok(());
    };
    let log = &raft.nodes[&planned.seed.node.id].log;
    let has = |index: &usize, entry: &Entry| log.get(index - 1) == Some(entry);
    let missing = raft.acknowledged.iter().filter(|(index, entry)| !has(index, entry)).count();
    prop_assert!(
        missing == 0 || !planned.loss.nothing_acknowledged,
        "{missing} acknowledged entries are lost"
    );
    prop_assert!(planned.loss.committed_index <= planned.loss.last_index);
    for index in 1..=planned.loss.committed_index as usize {
        prop_assert!(
            has(&index, &raft.acknowledged[&index]),
            "{} is known to be committed and not kept",
            index
        );
    }
    match planned.loss.nothing_acknowledged {
        true => seen.proven += 1,
        false => seen.unproven += 1,
    }
    seen.lost += u32::from(missing > 0);
    Ok(())
}

#[test]
fn the_seed_has_what_any_survivor_has_and_the_sentence_about_loss_is_true() {
    let mut seen = Seen::default();
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let runs = (some_nodes(), prop::collection::vec(step(), 0..150), some_nodes());
    let seen_by = std::cell::RefCell::new(&mut seen);
    let result =
        runner.run(&runs, |(voters, steps, left)| check(&voters, &steps, &left, &mut seen_by.borrow_mut()));
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("{seen:?}");
    assert!(seen.proven > 100 && seen.unproven > 100 && seen.lost > 100 && seen.refused > 100, "{seen:?}");
}
