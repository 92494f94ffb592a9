//! Valid inputs.

use bytes::Bytes;
use lockstep::cache::{
    Blocked, Cache, CacheConfig, Command, Condition, ConfigChange, DeadlineCondition, EntryId, Grant, Guard,
    IdempotencyKey, JoinUse, Key, Op, Quota, Role, SecretHash, SessionChange, Stamp, Step, TokenChange,
    TokenLimits, Touch, Ttl, Value,
};
use lockstep::lineage::{HistoryKind, Lineage};
use lockstep::peer::{Hello, Lane, PeerIdentity, Protocols, Welcome};
use lockstep::raft::WireVote;
use lockstep::replica::{Envelope, LogPosition, encode_touches, to_bytes};

pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn lineage() -> Lineage {
    let founded = Lineage::founded("1f0c9a3b-7d11-4b5e-9a53-000000000000", 5);
    founded.fork("second".into(), HistoryKind::Restored, 7, 7, 6, "why").expect("there is room")
}

pub fn hellos() -> Vec<Vec<u8>> {
    let identity = PeerIdentity { lineage: lineage().into(), node_id: 1, protocols: Protocols::THIS };
    let lanes = [Lane::Control, Lane::Append, Lane::Snapshot, Lane::Forward];
    lanes.into_iter().map(|lane| Hello::new(&identity, 2, lane).encode()).collect()
}

pub fn welcomes() -> Vec<Vec<u8>> {
    let all = [
        Welcome::Accepted { protocol: 1 },
        Welcome::OtherCluster,
        Welcome::OtherHistory(lineage()),
        Welcome::Refused("no".into()),
    ];
    all.iter().map(Welcome::encode).collect()
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn value(text: &'static str) -> Value {
    Value::new(Bytes::from_static(text.as_bytes()), Some("text/plain")).expect("a value")
}

pub fn commands() -> Vec<Command> {
    let put = |name, ttl| Op::Put {
        key: key(name),
        value: value("v"),
        ttl,
        condition: Condition::Always,
        previous: false,
    };
    let incr = Op::Incr { key: key("n"), by: -7, initial: 3, ttl: Ttl::Never, condition: Condition::Always };
    let secret = SecretHash::of("secret");
    let grants = vec![Grant { role: Role::Write, prefix: "a/".into() }];
    vec![
        Command::One(put("a", Ttl::Ms(10_000))),
        Command::One(put("b", Ttl::Default)),
        Command::One(incr.clone()),
        Command::One(Op::Delete { key: key("a"), condition: Condition::Revision(1), previous: true }),
        Command::Batch(vec![put("x", Ttl::Sliding(500)), incr, Op::Get { key: key("ä") }]),
        Command::Sequence {
            guards: vec![
                Guard::Key { key: key("x"), condition: Condition::ValueIs(Bytes::from_static(b"v")) },
                Guard::Keys { prefix: "x".into(), since: 2, count: 1 },
            ],
            ops: vec![
                put("x", Ttl::At(9_000)),
                put("x", Ttl::Keep),
                Op::Delete { key: key("a"), condition: Condition::AbsentSince(7), previous: true },
                Op::Append { key: key("x"), bytes: Bytes::from_static(b"w") },
                Op::SetRange { key: key("x"), offset: 3, bytes: Bytes::from_static(b"y") },
                Op::IncrDecimal { key: key("d"), by: "-1.5e2".into() },
                Op::IncrWithin {
                    key: key("n"),
                    step: Step::Integer { by: 3, lower: -7, upper: i64::MAX },
                    saturates: true,
                    ttl: Some(Ttl::Ms(5_000)),
                    keeps_deadline: true,
                },
                Op::IncrWithin {
                    key: key("d"),
                    step: Step::Decimal { by: "0.5".into(), lower: None, upper: Some("7".into()) },
                    saturates: false,
                    ttl: None,
                    keeps_deadline: false,
                },
                Op::GetEx { key: key("x"), ttl: Some(Ttl::Never) },
                Op::Look { key: key("x") },
                Op::Publish { channel: key("x"), message: "hello".into() },
                Op::SetFields { key: key("h"), fields: vec![("f".into(), "1".into())], only_new: true },
                Op::IncrField { key: key("h"), field: "f".into(), by: -2 },
                Op::IncrFieldDecimal { key: key("h"), field: "g".into(), by: "0.5".into() },
                Op::DeleteFields { key: key("h"), fields: vec!["f".into()] },
                Op::Delete { key: key("h"), condition: Condition::NoHash, previous: true },
                Op::Delete { key: key("h"), condition: Condition::PresentNoHash, previous: true },
                Op::Delete { key: key("h"), condition: Condition::DigestIs(u64::MAX), previous: true },
                Op::Delete { key: key("h"), condition: Condition::DigestIsNot(7), previous: false },
                Op::Expire {
                    key: key("x"),
                    ttl: Ttl::Ms(50),
                    condition: Condition::ValueIsNot(Bytes::new()),
                    only: DeadlineCondition::Earlier,
                },
            ],
        },
        Command::Sessions(Box::new(SessionChange::Open { name: key("app-1"), ttl_ms: 5_000 })),
        Command::Sessions(Box::new(SessionChange::Lock {
            name: key("job"),
            session: 7,
            session_name: key("app-1"),
        })),
        Command::Clear { prefix: Some("x".into()), unless: Some("y".into()) },
        Command::Configure(ConfigChange { capacity_entries: Some(10), ..ConfigChange::default() }),
        Command::Tick,
        Command::OpenFork { history: "third".into(), node: 1, start_index: 9 },
        Command::Tokens(Box::new(TokenChange::Create {
            id: "abcdefghij".into(),
            name: "app".into(),
            secret,
            grants,
            limits: TokenLimits { requests: Some(Quota { count: 5, window_ms: 1_000 }), body_bytes: None },
            ttl_ms: Some(60_000),
        })),
        Command::Tokens(Box::new(TokenChange::Block {
            blocked: Blocked::JwtId("1".into()),
            ttl_ms: Some(5),
        })),
        Command::Tokens(Box::new(TokenChange::CreateJoin {
            id: "joinjoin00".into(),
            secret,
            node: "n4".into(),
            hosts: vec!["10.0.0.4".into()],
            ttl_ms: 60_000,
        })),
        Command::Tokens(Box::new(TokenChange::UseJoin {
            id: "joinjoin00".into(),
            by: JoinUse::Folder("a".into()),
        })),
        Command::Tokens(Box::new(TokenChange::Rotate { id: "abcdefghij".into(), secret, overlap_ms: 5 })),
    ]
}

pub fn envelopes() -> Vec<Vec<u8>> {
    let sent_after = |index| IdempotencyKey { sent_after: Some(index), ..IdempotencyKey::from("retry-2") };
    let keys = [None, Some("retry-1".into()), Some(sent_after(300))].into_iter().cycle();
    let all = commands().into_iter().zip(keys);
    all.map(|(command, idempotency_key)| {
        Envelope { idempotency_key, origin: Some("app-1".into()), command }.encode().to_vec()
    })
    .collect()
}

/// Log entries: without a command, and with each.
pub fn entries() -> Vec<Vec<u8>> {
    let commands = envelopes();
    let bodies = commands.iter().zip(1..).map(|(body, index)| {
        let touches = encode_touches(&touches());
        let touches = [&(touches.len() as u32).to_be_bytes()[..], &touches].concat();
        entry(1, index, &[&[0; 16][..], &touches, body].concat())
    });
    bodies.chain([entry(0, 77, &[])]).collect()
}

/// Version, kind, term, index, and what is in it.
fn entry(kind: u8, index: u64, content: &[u8]) -> Vec<u8> {
    [&[1, kind][..], &2_u64.to_be_bytes(), &index.to_be_bytes(), content].concat()
}

/// Requests with no entries, and with several.
pub fn appends() -> Vec<Vec<u8>> {
    let part = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let vote = WireVote { term: 2, node: 1, committed: true };
    [0, 3]
        .map(|count| {
            let before: Option<LogPosition> = None;
            let head = to_bytes(&(vote, before, before, count as u32));
            let entries = (0..count).flat_map(|index| part(&entry(0, index, &[])));
            part(&head).into_iter().chain(entries).collect()
        })
        .to_vec()
}

pub fn touches() -> Vec<Touch> {
    (0..20).map(|slot| Touch { entry: EntryId { slot, generation: 3 }, count: 2 }).collect()
}

pub fn snapshots() -> Vec<Vec<u8>> {
    let mut cache = Cache::new(CacheConfig::default());
    let empty = encoded(&cache);
    for (index, command) in (1..).zip(commands()) {
        let idempotency_key = Some(format!("retry-{index}").into());
        let stamp = Stamp { index, at_ms: 1_000 + index, idempotency_key, origin: None, touches: Vec::new() };
        cache.apply(stamp, command);
    }
    vec![empty, encoded(&cache)]
}

pub fn encoded(cache: &Cache) -> Vec<u8> {
    let mut out = Vec::new();
    cache.snapshot_view().encode(&mut out).expect("memory takes it");
    out
}
