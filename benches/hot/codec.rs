//! Bytes of commands, log entries, append requests and frames: writing and reading them.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion};
use lockstep::cache::{Command, Condition, Key, Op, Ttl, Value};
use lockstep::peer::{Method, Request, decode_request};
use lockstep::raft::{Entry, LogId, Payload, Vote, decode_append, decode_entry, encode_append, encode_entry};
use lockstep::replica::{Envelope, Proposal};
use openraft::raft::AppendEntriesRequest;
use std::hint::black_box;
use std::time::Duration;

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(50);
    for puts in [1, 100] {
        let envelope = envelope(puts);
        let bytes = envelope.encode();
        let of = |what| BenchmarkId::new(what, format!("{puts} puts"));
        group.bench_function(of("encode a command"), |b| b.iter(|| black_box(&envelope).encode()));
        group.bench_function(of("decode a command"), |b| b.iter(|| Envelope::decode(black_box(&bytes))));
    }

    let one = entry(1);
    let bytes = encode_entry(&one);
    group.bench_function("encode a log entry", |b| b.iter(|| encode_entry(black_box(&one))));
    group.bench_function("decode a log entry", |b| b.iter(|| decode_entry(black_box(&bytes).clone())));

    for entries in [1, 128] {
        let prev_log_id = Some(LogId::new(1.into(), 0));
        let (vote, entries) = (Vote::new_committed(1, 1), (1..=entries).map(entry).collect::<Vec<_>>());
        let of = |what: &str| BenchmarkId::new(what, format!("{} entries", entries.len()));
        let (encode, decode, frame) = (of("encode an append"), of("decode an append"), of("frame an append"));
        let append = AppendEntriesRequest { vote, prev_log_id, leader_commit: prev_log_id, entries };
        let bytes = encode_append(&append);
        group.bench_function(encode, |b| b.iter(|| encode_append(black_box(&append))));
        group.bench_function(decode, |b| b.iter(|| decode_append(black_box(&bytes).clone())));
        let request = Request { id: 1, method: Method::Append, body: bytes };
        group.bench_function(frame, |b| b.iter(|| black_box(&request).clone().into_frame(1)));
    }

    let content = Request { id: 1, method: Method::Append, body: encode_entry(&one) };
    let content = content.into_frame(1).to_bytes().slice(4..);
    group.bench_function("read a frame", |b| b.iter(|| decode_request(1, black_box(&content).clone())));
    group.finish();
}

/// A command with so many puts of 128 bytes.
fn envelope(puts: u64) -> Envelope {
    let put = |number: u64| {
        let key = Key::new(&format!("{number:016x}")).expect("a key");
        let value = Value { bytes: Bytes::from(vec![b'v'; 128]), content_type: None };
        Op::Put { key, value, ttl: Ttl::Never, condition: Condition::Always, previous: false }
    };
    let command = match puts {
        1 => Command::One(put(0)),
        _ => Command::Batch((0..puts).map(put).collect()),
    };
    Envelope::from(command)
}

fn entry(index: u64) -> Entry {
    let proposal = Proposal { at_ms: 1, by: 1, touches: Bytes::new(), body: envelope(1).encode() };
    Entry { log_id: LogId::new(1.into(), index), payload: Payload::Normal(proposal) }
}
