//! Clients that become somebody else, and tokens that are good no more.

use super::client::{Client, commands};
use super::server::Server;
use lockstep::api::CreateToken;
use lockstep::front::FrontLimits;
use lockstep::node::{NewToken, Principal, RootToken, Session};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A server that needs tokens: it, the first token, and a session that has that.
async fn with_tokens() -> (Server, String, Session) {
    let root = NewToken::random().unwrap().text().to_owned();
    let given = Principal::of_token(&root).unwrap();
    let taken = given.clone();
    let limits = FrontLimits { value_bytes: 10_000, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |mut options| {
        options.require_tokens = Some(RootToken::Given(taken));
        options
    })
    .await;
    let session = server.node.session(given);
    (server, root, session)
}

/// A new token's id and text.
async fn token(session: &Session, name: &str, role: &str, prefix: &str) -> (String, String) {
    let request = json!({"name": name, "grants": [{"role": role, "prefix": prefix}]});
    let request: CreateToken = serde_json::from_value(request).unwrap();
    let made = session.create_token(request).await.unwrap();
    (made.id, made.token)
}

fn logged_in(address: SocketAddr, token: &str) -> Client {
    let mut client = Client::connect(address);
    assert!(client.ask(&format!("HELLO 3 AUTH default {token}")).starts_with("{\"server\""));
    client
}

/// What a connection is told is what its present token may read.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_client_becomes_is_told_what_that_one_may_read() {
    let (server, root, session) = with_tokens().await;
    let (id, narrow) = token(&session, "narrow", "write", "a").await;
    server
        .run_and_stop(move |address| {
            let mut setter = logged_in(address, &root);
            let mut client = logged_in(address, &root);
            client.ask("PSUBSCRIBE __key*__:*");
            client.ask("SUBSCRIBE __keyspace@0__:a1");
            let turn = |client: &mut Client| client.ask(&format!("AUTH {id} {narrow}"));
            // All or nothing.
            for _ in 0..2 {
                let refused = turn(&mut client);
                assert!(refused.starts_with("-NOPERM this token may not read all"), "{refused}");
                assert_eq!(client.ask("ACL WHOAMI"), logged_in(address, &root).ask("ACL WHOAMI"));
            }
            client.ask("PUNSUBSCRIBE");
            // Of what waits, it is told what it is subscribed to.
            setter.ask("MSET a1 1 b1 1 a2 1");
            client.write(&commands(&[&format!("AUTH {narrow}"), "ACL WHOAMI"]));
            let mut told = Vec::new();
            while told.len() < 3 {
                told.push(client.read());
            }
            assert!(told.contains(&format!("\"{id}\"")) && told.contains(&"+OK".to_owned()), "{told:?}");
            let message = ">\"message\" \"__keyspace@0__:a1\" \"set\"]";
            assert!(told.contains(&message.to_owned()), "{told:?}");
            // What the earlier token's subscriptions covered is no way to more.
            for (asked, is_allowed) in [
                ("SUBSCRIBE __keyspace@0__:b1", false),
                ("PSUBSCRIBE __keyspace@0__:*", false),
                ("CLIENT TRACKING ON", false),
                ("CLIENT TRACKING ON BCAST PREFIX b", false),
                ("PSUBSCRIBE __keyspace@0__:a*", true),
                ("CLIENT TRACKING ON BCAST PREFIX a", true),
            ] {
                assert_eq!(!client.ask(asked).starts_with("-NOPERM "), is_allowed, "{asked}");
            }
            client.ask("PUNSUBSCRIBE");
            client.ask("UNSUBSCRIBE");
            setter.ask("MSET b1 2 a1 2");
            assert_eq!(client.read(), ">\"invalidate\" [\"a1\"]]");
            // The way back, and prefixes that are told as far as they can be read.
            assert_eq!(client.ask(&format!("AUTH {root}")), "+OK");
            setter.ask("SELECT 1");
            setter.ask("SET a3 1");
            assert_eq!(client.read(), ">\"invalidate\" [\"a3\"]]");
            assert_eq!(turn(&mut client), "+OK");
            setter.ask("SET a4 1");
            setter.ask("SELECT 0");
            setter.ask("SET a5 1");
            assert_eq!(client.read(), ">\"invalidate\" [\"a5\"]]");
            // What is watched and queued is judged by who sends EXEC.
            let mut client = logged_in(address, &root);
            client.ask("WATCH b1");
            assert_eq!(turn(&mut client), "+OK");
            client.ask("MULTI");
            client.ask("SET a1 3");
            setter.ask("SET b1 3");
            let refused = client.ask("EXEC");
            assert!(refused.starts_with("-NOPERM "), "{refused}");
            assert_eq!(client.ask("GET a1"), "\"2\"");
        })
        .await;
}

/// Whoever is told in the place of another user is not told which keys that one has read.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_somebody_else_has_read() {
    let (server, root, session) = with_tokens().await;
    let (_, narrow) = token(&session, "narrow", "write", "a").await;
    server
        .run_and_stop(move |address| {
            let (mut told_at, mut client) = (logged_in(address, &root), logged_in(address, &root));
            let mut setter = logged_in(address, &root);
            let id = told_at.ask("CLIENT ID")[1..].to_owned();
            assert_eq!(client.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK");
            client.ask("GET b1");
            setter.ask("SET b1 1");
            assert_eq!(told_at.read(), ">\"invalidate\" [\"b1\"]]");
            assert_eq!(told_at.ask(&format!("AUTH {narrow}")), "+OK");
            client.ask("GET b1");
            setter.ask("SET b1 2");
            assert_eq!(told_at.read(), ">\"invalidate\" nil]");
        })
        .await;
}

/// After `RESET` a client has as much time to say who it is as after it has connected; a stranger gains none by it.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_log_in_begins_again_with_reset() {
    let (server, root, _session) = with_tokens().await;
    server
        .run_and_stop(move |address| {
            let mut stranger = Client::connect(address);
            let (mut client, begun) = (logged_in(address, &root), Instant::now());
            let stranger_begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(11) {
                std::thread::sleep(Duration::from_millis(200));
                if stranger_begun.elapsed() < Duration::from_secs(8) {
                    assert_eq!(stranger.ask("RESET"), "+RESET");
                }
            }
            assert_eq!(client.ask("RESET"), "+RESET");
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(client.ask(&format!("AUTH {root}")), "+OK");
            assert_eq!(stranger.next(), None);
        })
        .await;
}

/// A token that was revoked is good for nothing, also on connections that had it before.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_does_nothing() {
    let (server, _, session) = with_tokens().await;
    let (id, text) = token(&session, "short", "write", "").await;
    server
        .run_and_stop(move |address| {
            let mut client = logged_in(address, &text);
            let (mut queueing, mut outside) = (logged_in(address, &text), Client::connect(address));
            queueing.ask("MULTI");
            queueing.ask("SET a 1");
            assert_eq!(client.ask("EVAL return(1) 0"), ":1");
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(session.revoke_token(&id)).unwrap();
            for line in [
                "GET a",
                "EVAL return(1) 0",
                "SCRIPT LOAD return(1)",
                "SCRIPT FLUSH",
                "TIME",
                "CLIENT LIST",
                "CLIENT KILL ID 1",
                "CONFIG GET *",
                "COMMAND",
                "INFO",
                "MULTI",
                "SUBSCRIBE __keyspace@0__:a",
                "PING",
                "RENAME a b",
                "LOCKSTEP.INDEX",
            ] {
                let refused = client.ask(line);
                assert!(refused.starts_with("-NOAUTH "), "{line}: {refused}");
            }
            assert!(queueing.ask("EXEC").starts_with("-NOAUTH "));
            assert_eq!(queueing.ask("RESET"), "+RESET");
            assert!(outside.ask(&format!("AUTH {text}")).starts_with("-WRONGPASS "));
        })
        .await;
}
