//! What is told of many keys is that of one moment, and what scripts do by it holds.

use super::client::Client;
use super::replies::told;
use super::scripts::eval;
use super::server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// More keys than are read at a time.
const MANY: usize = 12_000;

fn fill(client: &mut Client, prefix: &str, count: usize) {
    for part in (0..count).collect::<Vec<_>>().chunks(4_000) {
        let pairs: Vec<String> = part.iter().map(|number| format!("{prefix}{number:06} 1")).collect();
        assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
    }
}

/// A key has one of two names, at the beginning and at the end of what is read, and is renamed all the time.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_told_as_they_were_at_one_moment() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        fill(&mut client, "k", MANY);
        client.ask("SET a 1");
        let is_over = Arc::new(AtomicBool::new(false));
        let renaming = {
            let (mut client, is_over) = (Client::connect(address), is_over.clone());
            std::thread::spawn(move || {
                for (from, to) in [("a", "z"), ("z", "a")].into_iter().cycle() {
                    assert_eq!(client.ask(&format!("RENAME {from} {to}")), "+OK");
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            })
        };
        for _ in 0..30 {
            let all = client.ask("KEYS *");
            let (first, last) = (all.starts_with("[\"a\" "), all.ends_with(" \"z\"]"));
            assert!(first != last, "both or neither: {first} {last}");
            let count = eval(&mut client, "return #redis.call('KEYS', '*')", &["0"]);
            assert_eq!(count, format!(":{}", MANY + 1));
        }
        is_over.store(true, Ordering::Relaxed);
        renaming.join().expect("each was answered");
    })
    .await;
}

/// Of several clients that each store a key if there is none, one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_holds_to_what_it_has_listed() {
    const STORE: &str = "if #redis.call('KEYS', ARGV[1] .. '*') == 0 then redis.call('SET', ARGV[1] .. ARGV[2], 1) return 1 end return 0";
    Server::run(|address| {
        for round in 0..40 {
            let store = |number: usize| {
                let mut client = Client::connect(address);
                std::thread::spawn(move || {
                    eval(&mut client, STORE, &["0", &format!("r{round}:"), &number.to_string()])
                })
            };
            let answers: Vec<_> = (0..3).map(store).collect();
            let mut answers: Vec<String> =
                answers.into_iter().map(|answer| answer.join().expect("it was answered")).collect();
            answers.sort_unstable();
            assert_eq!(answers, [":0", ":0", ":1"], "{round}");
        }
    })
    .await;
}

/// What caches do to invalidate: all keys with a prefix are removed, also those that came a moment before.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_removes_what_it_lists() {
    const REMOVE: &str = "local keys = redis.call('KEYS', ARGV[1]) \
        for _, key in ipairs(keys) do redis.call('DEL', key) end return #keys";
    Server::run(|address| {
        let mut client = Client::connect(address);
        // A script may compute for half a second, also on a busy machine and in a build that is not optimised.
        fill(&mut client, "tag:", 400);
        client.ask("SET other 1");
        let begun = Instant::now();
        assert_eq!(eval(&mut client, REMOVE, &["0", "tag:*"]), ":400");
        // It was tried once for each key: minutes.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        told(&mut client, &[("KEYS *", "[\"other\"]")]);
        fill(&mut client, "tag:", 17_000);
        let refused =
            eval(&mut client, "redis.call('KEYS', 'tag:*') return redis.call('SET', 'a', 1)", &["0"]);
        assert!(refused.starts_with("-ERR nothing was done: what writes by what KEYS has told"), "{refused}");
        told(&mut client, &[("DBSIZE", ":17001"), ("GET a", "nil")]);
    })
    .await;
}

/// A script begins anew with each key that it has not declared, and has no more time for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_computes_no_longer_because_it_declares_less() {
    const SLOW: &str = "local begun = os.clock() while os.clock() - begun < 0.3 do end \
        for number = 1, 30 do redis.call('GET', 'undeclared' .. number) end return 1";
    Server::run(|address| {
        let mut client = Client::connect(address);
        let begun = Instant::now();
        let refused = eval(&mut client, SLOW, &["0"]);
        // A machine that is so busy that 300 ms of its processor take seconds ends it before.
        let is_late = refused.starts_with("-UNAVAILABLE nothing was done: it took too long");
        assert!(is_late || refused.contains("computes for too long"), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    })
    .await;
}

/// What one step cannot do is refused before it takes memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_grows_too_much_is_refused_at_once() {
    const GROW: &str = "for _, key in ipairs(KEYS) do redis.call('SETRANGE', key, 2097150, 'x') end return 1";
    Server::run(|address| {
        let mut client = Client::connect(address);
        let keys: Vec<String> = (0..1_000).map(|number| format!("k{number}")).collect();
        let mut rest = vec!["1000"];
        rest.extend(keys.iter().map(String::as_str));
        let refused = eval(&mut client, GROW, &rest);
        // By the command, not at the end.
        assert!(refused.starts_with("-ERR it changes large values too often"), "{refused}");
        assert!(refused.contains("on @user_script:1"), "{refused}");
        told(
            &mut client,
            &[("SETRANGE large 2097150 x", ":2097151"), ("MULTI", "+OK"), ("COPY a b", "+QUEUED")],
        );
        for _ in 0..2_000 {
            assert_eq!(client.ask("SETRANGE large 0 y"), "+QUEUED");
        }
        let refused = client.ask("EXEC");
        assert!(refused.starts_with("-ERR it changes large values too often"), "{refused:.100}");
        told(&mut client, &[("GETRANGE large 0 0", "\"\\0\""), ("DBSIZE", ":1")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_can_be_watched_and_declared() {
    Server::run(|address: SocketAddr| {
        let mut client = Client::connect(address);
        let keys: Vec<String> = (0..2_000).map(|number| format!("k{number}")).collect();
        let (keys, pairs) = (keys.join(" "), keys.join(" 1 "));
        told(
            &mut client,
            &[
                (&format!("MSETNX {pairs} 1"), ":1"),
                (&format!("MSETNX {pairs} 2"), ":0"),
                (&format!("MSETEX 2000 {pairs} 3"), ":1"),
                (&format!("WATCH {keys}"), "+OK"),
                ("MULTI", "+OK"),
                ("SET a 1", "+QUEUED"),
                ("INFO memory", "+QUEUED"),
            ],
        );
        assert!(client.ask("EXEC").starts_with("[+OK "));
        assert_eq!(client.ask(&format!("WATCH {keys}")), "+OK");
        Client::connect(address).ask("SET k1999 other");
        told(&mut client, &[("MULTI", "+OK"), ("SET a 2", "+QUEUED"), ("EXEC", "nil"), ("GET a", "\"1\"")]);
        assert_eq!(client.ask(&format!("EVAL return(#KEYS) 2000 {keys}")), ":2000");
        told(
            &mut client,
            &[("MSETEX 2 a 5 b 6 EX 100", ":1"), ("MGET a b", "[\"5\" \"6\"]"), ("TTL b", ":100")],
        );
    })
    .await;
}
