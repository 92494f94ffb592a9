//! `MULTI`, `EXEC` and `WATCH`.

use super::client::Client;
use super::replies::told;
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_carried_out_as_one() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(&mut client, &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("SET a x", "+QUEUED"),
            ("INCR a", "+QUEUED"),
            ("SELECT 1", "+QUEUED"),
            ("SET a 1", "+QUEUED"),
            ("SELECT 0", "+QUEUED"),
            ("GET a", "+QUEUED"),
            ("EXEC", "[+OK -ERR value is not an integer or out of range +OK +OK +OK \"x\"]"),
            ("MULTI", "+OK"),
            ("SET a", "-ERR wrong number of arguments for 'set' command"),
            ("SET a 2", "+QUEUED"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("GET a", "\"x\""),
            ("MULTI", "+OK"),
            ("SELECT 1", "+QUEUED"),
            ("SET a 3", "+QUEUED"),
            ("DISCARD", "+OK"),
            ("GET a", "\"x\""),
            ("MULTI", "+OK"),
            ("EXEC", "[]"),
            ("MULTI", "+OK"),
            ("EXEC 1", "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"),
            // What decides by several keys is a part of it, too.
            ("MULTI", "+OK"),
            ("RENAME a b", "+QUEUED"),
            ("MSETNX a 1 c 2", "+QUEUED"),
            ("MSETNX a 1 d 2", "+QUEUED"),
            ("RENAME nothing x", "+QUEUED"),
            ("GET b", "+QUEUED"),
            ("EXEC", "[+OK :1 :0 -ERR no such key \"x\"]"),
            ("EXISTS d", ":0"),
        ]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_must_not_change() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        let mut attempt = |before: &str, between: &str, expected: &str| {
            for composite in [false, true] {
                assert_eq!(other.ask("FLUSHALL"), "+OK");
                other.ask(before);
                assert_eq!(client.ask("WATCH a b"), "+OK");
                other.ask(between);
                assert_eq!(client.ask("MULTI"), "+OK");
                client.ask("SET mine 1");
                if composite {
                    client.ask("MSETNX more 1");
                }
                let reply = client.ask("EXEC");
                let expected = if composite && expected != "nil" { "[+OK :1]" } else { expected };
                assert_eq!(reply, expected, "{before}; {between}; {composite}");
                assert_eq!(other.ask("EXISTS mine"), if expected == "nil" { ":0" } else { ":1" });
            }
        };
        attempt("SET a 1", "PING", "[+OK]");
        attempt("SET a 1", "SET a 1", "nil");
        attempt("SET a 1", "DEL a", "nil");
        attempt("PING", "SET b 1", "nil");
        attempt("PING", "SET c 1", "[+OK]");
        attempt("SET a 1", "FLUSHALL", "nil");
        attempt("SET a 1", "EXPIRE a 1000", "nil");
        // It came and went.
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.ask("WATCH b");
        other.ask("SET b 1");
        other.ask("DEL b");
        told(&mut client, &[("MULTI", "+OK"), ("EXEC", "nil")]);
        client.ask("WATCH a");
        other.ask("SET a 9");
        told(&mut client, &[("UNWATCH", "+OK"), ("MULTI", "+OK"), ("GET a", "+QUEUED"), ("EXEC", "[\"9\"]")]);
    })
    .await;
}
