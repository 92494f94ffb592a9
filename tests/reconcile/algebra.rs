//! The result does not depend on the order in which sides are brought together.
//!
//! The generators are small on purpose: independent random numbers hardly ever meet a tie, and a rule that is wrong about ties
//! would pass.

use lockstep::reconcile::{Action, Entry, Fate, Knowledge, Lifetime, Policy, Rule, Terms, judge};
use proptest::prelude::*;

/// What a side knows, as far as it matters for the value: why a key that nobody changed is absent does not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    AsBefore,
    Entry { stamp_ms: u64, version: u64, lifetime: Lifetime, hash: u128, number: Option<i64> },
    Gone { stamp_ms: u64 },
}

fn value(known: Knowledge) -> Value {
    match known.fate {
        Fate::Unchanged(_) | Fate::Absent | Fate::Unknown { .. } => Value::AsBefore,
        Fate::Changed(Entry { stamp_ms, version, lifetime, hash, number, .. }) => {
            Value::Entry { stamp_ms, version, lifetime, hash, number }
        }
        Fate::Deleted { stamp_ms } | Fate::Lost { stamp_ms } => Value::Gone { stamp_ms },
    }
}

fn terms(policy: Policy) -> Terms {
    Terms {
        rule: Rule { policy, ..Rule::default() },
        remove_unknown: false,
        base_number: Some(BASE),
        was_merged: false,
    }
}

/// The counter at the fork.
const BASE: i64 = 10;

/// What live knows when the verdict has been carried out.
fn merged(incoming: Knowledge, live: Knowledge, policy: Policy) -> Knowledge {
    let verdict = judge(incoming, live, terms(policy)).expect("both come from one log");
    let fate = match (verdict.action, incoming.fate, live.fate) {
        (Action::Keep, _, fate) => fate,
        (Action::Put | Action::SetLifetime, Fate::Changed(theirs), _) => Fate::Changed(theirs),
        (Action::Remove | Action::Bury, Fate::Deleted { stamp_ms } | Fate::Lost { stamp_ms }, _) => {
            Fate::Deleted { stamp_ms }
        }
        // A sum is as old as the later of its parts.
        (Action::Add(amount), Fate::Changed(theirs), Fate::Changed(ours)) => {
            let number = ours.number.expect("a counter") + amount;
            let (stamp_ms, version) = (theirs.stamp_ms.max(ours.stamp_ms), theirs.version.max(ours.version));
            let hash = u128::from(number.unsigned_abs());
            Fate::Changed(Entry { stamp_ms, version, hash, number: Some(number), ..ours })
        }
        (action, theirs, ours) => panic!("{action:?} for {theirs:?} and {ours:?}"),
    };
    Knowledge { fate, was_common: incoming.was_common.or(live.was_common), is_merged: false }
}

fn base() -> Entry {
    let hash = BASE.unsigned_abs().into();
    Entry {
        revision: 7,
        created_revision: 7,
        version: 1,
        stamp_ms: 1,
        lifetime: Lifetime::FOREVER,
        hash,
        number: Some(BASE),
    }
}

/// A side's knowledge of a key that was there at the fork.
fn side() -> impl Strategy<Value = Knowledge> {
    let changed =
        (2_u64..4, 1_u64..3, any::<bool>(), 9_i64..12).prop_map(|(stamp_ms, version, forever, number)| {
            let lifetime =
                Lifetime { expires_at_ms: if forever { Lifetime::NEVER_MS } else { 90 }, sliding_ms: 0 };
            let hash = number.unsigned_abs().into();
            Fate::Changed(Entry {
                revision: 20,
                stamp_ms,
                version,
                lifetime,
                hash,
                number: Some(number),
                ..base()
            })
        });
    let fate = prop_oneof![
        1 => Just(Fate::Unchanged(base())),
        1 => Just(Fate::Absent),
        2 => (2_u64..4).prop_map(|stamp_ms| Fate::Deleted { stamp_ms }),
        2 => (2_u64..4).prop_map(|stamp_ms| Fate::Lost { stamp_ms }),
        6 => changed,
    ];
    fate.prop_map(|fate| Knowledge { fate, was_common: Some(true), is_merged: false })
}

const BY_AGE: [Policy; 2] = [Policy::Newest, Policy::Oldest];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn it_does_not_matter_who_is_live(a in side(), b in side()) {
        for policy in BY_AGE {
            prop_assert_eq!(value(merged(a, b, policy)), value(merged(b, a, policy)), "{:?}", policy);
        }
    }

    #[test]
    fn nor_which_two_of_three_come_first(a in side(), b in side(), c in side()) {
        for policy in BY_AGE {
            let left = merged(c, merged(b, a, policy), policy);
            let right = merged(merged(c, b, policy), a, policy);
            prop_assert_eq!(value(left), value(right), "{:?}", policy);
        }
    }

    #[test]
    fn nothing_happens_the_second_time(a in side(), b in side()) {
        for policy in [Policy::Newest, Policy::Oldest, Policy::PreferLive, Policy::PreferIncoming] {
            let once = merged(b, a, policy);
            prop_assert_eq!(value(merged(b, once, policy)), value(once), "{:?}", policy);
            prop_assert_eq!(value(merged(a, a, policy)), value(a), "{:?}", policy);
        }
    }

    /// Sums of three sides, each of which added to a counter.
    #[test]
    fn what_counters_got_on_all_sides_is_added_up(added in prop::array::uniform3(0_i64..4)) {
        let [a, b, c] = added.map(|added| {
            let number = Some(BASE + added);
            let hash = (BASE + added).unsigned_abs().into();
            let entry = Entry { revision: 20, stamp_ms: 2, hash, number, ..base() };
            Knowledge { fate: Fate::Changed(entry), was_common: Some(true), is_merged: false }
        });
        let number = |known: Knowledge| match known.fate {
            Fate::Changed(entry) => entry.number,
            _ => None,
        };
        let sum = |incoming, live| merged(incoming, live, Policy::SumDelta);
        prop_assert_eq!(number(sum(a, b)), Some(BASE + added[0] + added[1]));
        let all = Some(BASE + added.iter().sum::<i64>());
        prop_assert_eq!((number(sum(c, sum(b, a))), number(sum(sum(c, b), a))), (all, all));
    }
}
