//! The check of a token: from the header `Authorization` to whether it may read a key, on a running node.

use axum::http::{HeaderMap, HeaderValue, header};
use criterion::Criterion;
use lockstep::cache::{Command, Grant, Key, Need, Role, TokenChange, TokenLimits};
use lockstep::http::parsers::authorization_in;
use lockstep::node::{NewToken, Node, NodeOptions, Principal};
use std::hint::black_box;
use std::time::Duration;
use tokio::runtime::Runtime;

const TOKENS: usize = 100;
const GRANTS: usize = 5;

pub fn all(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (node, token) = runtime.block_on(node_with_tokens(folder.path()));
    let shown = HeaderValue::from_str(&format!("Bearer {}", token.text())).expect("a header");
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, shown)]);
    // Only the last grant allows it.
    let need = Need::Key(Role::Read, Key::new(&format!("{}key", prefix(GRANTS - 1))).expect("a key"));

    let mut group = criterion.benchmark_group(format!("token, of {TOKENS} with {GRANTS} grants"));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(50);
    group.bench_function("from the header to the judgement", |bencher| {
        bencher.iter(|| {
            let principal = authorization_in(black_box(&headers)).expect("it is a token");
            assert!(node.session(principal).may_now(black_box(&need)));
        });
    });
    // Its two parts: the first is mostly SHA-256.
    group.bench_function("read and hash", |bencher| bencher.iter(|| authorization_in(black_box(&headers))));
    let session = node.session(authorization_in(&headers).expect("it is a token"));
    group.bench_function("judge", |bencher| bencher.iter(|| session.may_now(black_box(&need))));
    group.finish();
    runtime.block_on(node.stop());
}

/// A cluster of one node, and one of its tokens.
async fn node_with_tokens(folder: &std::path::Path) -> (Node, NewToken) {
    let node = Node::start(NodeOptions::alone(folder)).await.expect("a node");
    let mut last = None;
    for number in 0..TOKENS {
        let token = NewToken::random().expect("random numbers");
        let grants = (0..GRANTS).map(|grant| Grant { role: Role::Read, prefix: prefix(grant) }).collect();
        let create = TokenChange::Create {
            id: token.id.clone(),
            name: format!("token-{number}"),
            secret: token.secret(),
            grants,
            limits: TokenLimits::default(),
            ttl_ms: None,
        };
        node.write(Command::Tokens(Box::new(create))).await.expect("it is made");
        last = Some(token);
    }
    let token = last.expect("there is one");
    // Now the node has looked whether it knows everything, as one does that serves.
    let session = node.session(Principal::of_token(token.text()).expect("a token"));
    session.authorize(&Need::Role(Role::Observe)).await.expect("it may");
    (node, token)
}

fn prefix(grant: usize) -> String {
    format!("tenant:{grant}:orders:")
}
