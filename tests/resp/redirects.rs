//! Client tracking that is told at another connection, and reads in transactions and scripts.

use super::client::{Client, commands};
use super::replies::told;
use super::server::Server;
use std::net::SocketAddr;

/// A connection that is told in the place of others, and its id.
fn listener(address: SocketAddr) -> (Client, String) {
    let mut client = Client::connect(address);
    let id = client.ask("CLIENT ID")[1..].to_owned();
    assert_eq!(client.ask("SUBSCRIBE __redis__:invalidate"), "[\"subscribe\" \"__redis__:invalidate\" :1]");
    (client, id)
}

fn invalid(keys: &str) -> String {
    format!("[\"message\" \"__redis__:invalidate\" {keys}]")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_connection_is_told() {
    Server::run(|address| {
        let (mut told_at, id) = listener(address);
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        told(
            &mut client,
            &[
                ("CLIENT GETREDIR", ":-1"),
                (
                    "CLIENT TRACKING ON REDIRECT 123456789",
                    "-ERR The client ID you want redirect to does not exist",
                ),
                ("CLIENT TRACKING ON REDIRECT", "-ERR syntax error"),
                ("CLIENT TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"),
                (
                    &format!("CLIENT TRACKING ON REDIRECT {id} REDIRECT {id}"),
                    "-ERR A client can only redirect to a single other client",
                ),
                (&format!("CLIENT TRACKING ON REDIRECT {id} OPTOUT NOLOOP"), "+OK"),
                ("CLIENT GETREDIR", &format!(":{id}")),
                ("CLIENT CACHING NO", "+OK"),
                (
                    "CLIENT TRACKINGINFO",
                    &format!(
                        "[\"flags\" [\"on\" \"optout\" \"caching-no\" \"noloop\"] \"redirect\" :{id} \"prefixes\" []]"
                    ),
                ),
                ("GET a", "nil"),
                ("MGET b c", "[nil nil]"),
            ],
        );
        other.ask("MSET a 1 b 1");
        assert_eq!(told_at.read(), invalid("[\"b\"]"));
        client.ask("SET c 1");
        other.ask("FLUSHALL");
        assert_eq!(told_at.read(), invalid("nil"));
        // In version 3 it is told without a subscription. What came before it could be told is not lost.
        client.ask("GET a");
        told_at.ask("UNSUBSCRIBE");
        other.ask("SET a 1");
        assert!(told_at.ask("HELLO 3").contains("\"proto\" :3"));
        let heard = told_at.read();
        assert!([">\"invalidate\" nil]", ">\"invalidate\" [\"a\"]]"].contains(&heard.as_str()), "{heard}");
        client.ask("GET a");
        other.ask("SET a 2");
        assert_eq!(told_at.read(), ">\"invalidate\" [\"a\"]]");
        // Several connections can be told at one.
        let mut third = Client::connect(address);
        third.ask(&format!("CLIENT TRACKING ON BCAST PREFIX x REDIRECT {id}"));
        assert_eq!(
            third.ask("CLIENT TRACKINGINFO"),
            format!("[\"flags\" [\"on\" \"bcast\"] \"redirect\" :{id} \"prefixes\" [\"x\"]]")
        );
        third.ask(&format!("CLIENT TRACKING ON BCAST PREFIX y REDIRECT {id}"));
        let listed = other.ask("CLIENT LIST");
        assert!(listed.contains("flags=tB ") && listed.contains(&format!("redir={id} ")), "{listed}");
        other.ask("MSET y1 1 x1 1 z 1 x1 2");
        assert_eq!(told_at.read(), ">\"invalidate\" [\"x1\"]]");
        assert_eq!(told_at.read(), ">\"invalidate\" [\"y1\"]]");
        assert_eq!(told_at.ask("PING"), "+PONG");
    })
    .await;
}

/// Whichever of two connections ends, the client learns at the other one that it must not go on with what it has.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_either_connection_is_told() {
    Server::run(|address| {
        let (mut told_at, id) = listener(address);
        let (mut old, mut new) = (Client::connect(address), Client::connect(address));
        new.ask("HELLO 3");
        for client in [&mut old, &mut new] {
            assert_eq!(client.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK");
            client.ask("GET a");
        }
        let mut leaving = Client::connect(address);
        leaving.ask(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        leaving.ask("MGET b c");
        drop(leaving);
        assert_eq!(told_at.read(), invalid("[\"b\" \"c\"]"));
        let mut leaving = Client::connect(address);
        leaving.ask(&format!("CLIENT TRACKING ON BCAST REDIRECT {id}"));
        drop(leaving);
        assert_eq!(told_at.read(), invalid("nil"));
        drop(told_at);
        // Version 3 has words for it. In version 2 nothing can be said that was not asked for.
        assert_eq!(new.read(), format!(">\"tracking-redir-broken\" :{id}]"));
        assert_eq!(old.next(), None);
        assert_eq!(
            new.ask("CLIENT TRACKINGINFO"),
            format!("{{\"flags\" ~\"on\" \"broken_redirect\"] \"redirect\" :{id} \"prefixes\" []}}")
        );
        assert!(new.ask("CLIENT LIST").contains("flags=tR "));
        let (mut told_at, id) = listener(address);
        assert_eq!(new.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK");
        new.ask("GET a");
        new.ask("SET a 1");
        assert_eq!(told_at.read(), invalid("[\"a\"]"));
    })
    .await;
}

/// Whoever is told too much at a time is told to forget everything.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_another_connection_has_a_bound() {
    Server::run(|address| {
        let (mut told_at, id) = listener(address);
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.ask(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        let long = "k".repeat(3_000);
        // All of it at once: what arrives together is carried out together.
        let keys: Vec<String> = (0..400).map(|number| format!("{long}{number}")).collect();
        client.ask(&format!("MGET {}", keys.join(" ")));
        other.ask(&format!("MSET {} 1", keys.join(" 1 ")));
        assert_eq!(told_at.read(), invalid("nil"));
        client.ask("GET a");
        other.ask("SET a 1");
        assert_eq!(told_at.read(), invalid("[\"a\"]"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_transactions_and_scripts_read_is_remembered() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.ask("HELLO 3");
        client.ask("CLIENT TRACKING ON");
        let mut changed = |client: &mut Client, lines: &[&str], heard: &str| {
            client.write(&commands(lines));
            lines.iter().for_each(|_| drop(client.read()));
            other.ask("MSET a 1 b 1 c 1");
            assert_eq!(client.read(), format!(">\"invalidate\" [{heard}]]"), "{lines:?}");
        };
        changed(&mut client, &["MULTI", "GET a", "EXEC"], "\"a\"");
        changed(&mut client, &["MULTI", "GET b", "SET d 1", "EXEC"], "\"b\"");
        changed(
            &mut client,
            &["MULTI", "GET b", "EVAL return(redis.call('get',KEYS[1])) 1 a", "EXEC"],
            "\"a\" \"b\"",
        );
        changed(&mut client, &["EVAL return(redis.call('get',KEYS[2])) 2 a b"], "\"b\"");
        changed(&mut client, &["EVAL redis.call('set','d',redis.call('get','c')) 1 d"], "\"c\"");
        client.ask("CLIENT TRACKING OFF");
        client.ask("CLIENT TRACKING ON OPTIN");
        changed(
            &mut client,
            &["GET c", "CLIENT CACHING YES", "MULTI", "GET a", "GET b", "EXEC"],
            "\"a\" \"b\"",
        );
        client.ask("CLIENT TRACKING OFF");
        client.ask("CLIENT TRACKING ON OPTOUT");
        changed(&mut client, &["CLIENT CACHING NO", "GET a", "CLIENT CACHING NO", "PING", "GET b"], "\"b\"");
        // What it would be told must not stand between replies.
        for hello in ["HELLO 2", "HELLO 2 SETNAME new"] {
            let refused = client.ask(hello);
            assert!(refused.starts_with("-ERR this connection is told by client tracking"), "{refused}");
        }
        assert_eq!(client.ask("CLIENT GETNAME"), "nil");
        client.ask("GET a");
        client.ask("CLIENT TRACKING OFF");
        assert!(client.ask("HELLO 2").contains("\"proto\" :2"));
        other.ask("SET a 9");
        assert_eq!([client.ask("PING"), client.ask("GET a")], ["+PONG", "\"9\""]);
    })
    .await;
}
