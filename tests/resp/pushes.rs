//! What a client is told that it has not asked for: what becomes of keys, and what it must forget.

use super::client::{Client, commands};
use super::replies::told;
use super::server::Server;
use lockstep::cache::CacheConfig;
use lockstep::front::FrontLimits;
use lockstep::node::Origin;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_what_it_must_forget() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        other.ask("MSET a 1 b 1 c 1");
        let refused = client.ask("CLIENT TRACKING ON");
        assert!(refused.starts_with("-ERR client tracking needs RESP3, or another connection"), "{refused}");
        client.ask("HELLO 3");
        told(
            &mut client,
            &[
                ("CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
                (
                    "CLIENT CACHING YES",
                    "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
                ),
                ("CLIENT TRACKING ON", "+OK"),
                (
                    "CLIENT CACHING YES",
                    "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ),
                ("CLIENT TRACKINGINFO", "{\"flags\" ~\"on\"] \"redirect\" :0 \"prefixes\" []}"),
                ("GET a", "\"1\""),
                ("MGET b nothing", "[\"1\" nil]"),
            ],
        );
        other.ask("SET a 2");
        assert_eq!(client.read(), ">\"invalidate\" [\"a\"]]");
        // It has `a` no more, so it hears of `b` next.
        other.ask("SET a 3");
        other.ask("EXPIRE b 1000");
        assert_eq!(client.read(), ">\"invalidate\" [\"b\"]]");
        other.ask("SETNX nothing 1");
        assert_eq!(client.read(), ">\"invalidate\" [\"nothing\"]]");
        // Read and changed in one pipeline: it holds the old value.
        client.write(&commands(&["GET c", "SET c 2"]));
        assert_eq!([client.read(), client.read()], ["\"1\"", "+OK"]);
        assert_eq!(client.read(), ">\"invalidate\" [\"c\"]]");
        client.ask("GET c");
        other.ask("FLUSHALL");
        assert_eq!(client.read(), ">\"invalidate\" nil]");
        told(&mut client, &[("CLIENT TRACKING OFF", "+OK"), ("GET a", "nil")]);
        other.ask("SET a 2");
        assert_eq!(client.ask("PING"), "+PONG");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_what_it_wants_to_be_told_of() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.ask("HELLO 3");
        told(
            &mut client,
            &[
                ("CLIENT TRACKING ON OPTIN", "+OK"),
                ("GET a", "nil"),
                ("CLIENT CACHING YES", "+OK"),
                ("GET b", "nil"),
                ("GET c", "nil"),
            ],
        );
        other.ask("MSET a 1 c 1 b 1");
        assert_eq!(client.read(), ">\"invalidate\" [\"b\"]]");
        told(
            &mut client,
            &[
                (
                    "CLIENT TRACKING ON OPTOUT NOLOOP",
                    "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
                ),
                ("CLIENT TRACKING OFF", "+OK"),
                ("CLIENT TRACKING ON OPTOUT NOLOOP", "+OK"),
                ("CLIENT CACHING NO", "+OK"),
                ("GET a", "\"1\""),
                ("GET b", "\"1\""),
                ("SET b 2", "+OK"),
                ("GET b", "\"2\""),
            ],
        );
        other.ask("MSET a 3 b 3");
        assert_eq!(client.read(), ">\"invalidate\" [\"b\"]]");
        let refused = client.ask("CLIENT TRACKING ON BCAST");
        assert!(refused.starts_with("-ERR You can't switch BCAST mode on/off"), "{refused}");
        client.ask("CLIENT TRACKING OFF");
        assert_eq!(client.ask("CLIENT TRACKING ON BCAST PREFIX user: PREFIX x"), "+OK");
        let refused = client.ask("CLIENT TRACKING ON BCAST PREFIX user:1");
        assert!(refused.starts_with("-ERR Prefix 'user:1' overlaps with an existing prefix 'user:'"), "{refused}");
        let refused = client.ask("CLIENT TRACKING ON BCAST PREFIX yy PREFIX y");
        assert!(refused.starts_with("-ERR Prefix 'yy' overlaps with another provided prefix 'y'"), "{refused}");
        let refused = client.ask(&format!(
            "CLIENT TRACKING ON BCAST{}",
            (0..8).map(|number| format!(" PREFIX {number}{}", "p".repeat(9_000))).collect::<String>()
        ));
        assert!(refused.starts_with("-ERR a client can have 1024 prefixes"), "{refused}");
        other.ask("MSET a 1 user:1 1");
        assert_eq!(client.read(), ">\"invalidate\" [\"user:1\"]]");
        other.ask("SELECT 2");
        other.ask("SET x 1");
        assert_eq!(client.read(), ">\"invalidate\" [\"x\"]]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_keys_is_told() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        assert_eq!(client.ask("SUBSCRIBE __keyspace@0__:a"), "[\"subscribe\" \"__keyspace@0__:a\" :1]");
        assert_eq!(client.ask("PSUBSCRIBE __keyevent@0__:*"), "[\"psubscribe\" \"__keyevent@0__:*\" :2]");
        let refused = client.ask("GET a");
        assert!(refused.starts_with("-ERR Can't execute 'get'"), "{refused}");
        assert_eq!(client.ask("PING"), "[\"pong\" \"\"]");
        other.ask("SET a 1");
        assert_eq!(client.read(), "[\"message\" \"__keyspace@0__:a\" \"set\"]");
        let told_of = |event: &str, key: &str| {
            format!("[\"pmessage\" \"__keyevent@0__:*\" \"__keyevent@0__:{event}\" \"{key}\"]")
        };
        assert_eq!(client.read(), told_of("set", "a"));
        for (asked, event) in
            [("SET b 1", "set"), ("EXPIRE b 100", "expire"), ("PERSIST b", "persist"), ("DEL b", "del")]
        {
            other.ask(asked);
            assert_eq!(client.read(), told_of(event, "b"));
        }
        other.ask("SET b 1 PX 1");
        assert_eq!(client.read(), told_of("set", "b"));
        while other.ask("GET b") != "nil" {
            other.ask("SELECT 1");
            other.ask("INCR clock");
            other.ask("SELECT 0");
        }
        assert_eq!(client.read(), told_of("expired", "b"));
        assert_eq!(client.ask("UNSUBSCRIBE"), "[\"unsubscribe\" \"__keyspace@0__:a\" :1]");
        assert_eq!(client.ask("PUNSUBSCRIBE"), "[\"punsubscribe\" \"__keyevent@0__:*\" :0]");
        assert_eq!(client.ask("GET a"), "\"1\"");
        // In version 3, everything goes on beside the messages.
        client.ask("HELLO 3");
        client.ask("SUBSCRIBE __keyevent@0__:del");
        assert_eq!(client.ask("GET a"), "\"1\"");
        other.ask("DEL a");
        assert_eq!(client.read(), ">\"message\" \"__keyevent@0__:del\" \"a\"]");
        assert_eq!(client.ask("RESET"), "+RESET");
    })
    .await;
}

/// Whoever subscribes to more misses nothing of what it is subscribed to, and is told nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_more_is_subscribed_to() {
    const SETS: usize = 400;
    Server::run(|address| {
        let mut client = Client::connect(address);
        client.ask("HELLO 3");
        client.ask("SUBSCRIBE __keyspace@0__:a");
        let setting = std::thread::spawn(move || {
            let mut other = Client::connect(address);
            (0..SETS).for_each(|number| drop(other.ask(&format!("SET a {number}"))));
            other.ask("SET last 1");
        });
        client.ask("SUBSCRIBE __keyspace@0__:last");
        let (mut heard, mut more) = (0, 0);
        loop {
            let told = client.read();
            if told.contains("keyspace@0__:a\"") && told.contains("message") {
                heard += 1;
                if heard % 20 == 0 {
                    more += 1;
                    client.write(format!("SUBSCRIBE __keyspace@0__:more-{more}\r\n").as_bytes());
                }
            }
            if told.contains("keyspace@0__:last\"") && told.contains("message") {
                break;
            }
        }
        assert_eq!(heard, SETS);
        assert!(more > 10);
        setting.join().unwrap();
    })
    .await;
}

/// With `NOLOOP`, what a client names itself is not told, and what becomes of other keys by that is.
#[tokio::test(flavor = "multi_thread")]
async fn what_makes_room_for_own_values_is_told() {
    let server = Server::start_with(FrontLimits::default(), None, |mut options| {
        let config = CacheConfig { capacity_entries: 200, ..CacheConfig::default() };
        options.origin = Origin::Alone { config };
        options
    })
    .await;
    server
        .run_and_stop(|address| {
            let (mut client, mut other) = (Client::connect(address), Client::connect(address));
            client.ask("HELLO 3");
            client.ask("CLIENT TRACKING ON NOLOOP");
            let mut heard = std::collections::BTreeSet::new();
            let mut next = |client: &mut Client| loop {
                let told = client.read();
                match told.strip_prefix(">\"invalidate\" [") {
                    Some(keys) => heard.extend(keys.trim_end_matches(']').split(' ').map(str::to_owned)),
                    None => return (told, heard.clone()),
                }
            };
            for number in 0..100 {
                other.ask(&format!("SET read:{number} 1"));
                client.ask(&format!("GET read:{number}"));
            }
            for number in 0..400 {
                client.write(&commands(&[&format!("SET own:{number} 1")]));
                assert_eq!(next(&mut client).0, "+OK");
            }
            let names: Vec<String> = (0..100).map(|number| format!("read:{number}")).collect();
            let gone: Vec<&String> =
                names.iter().filter(|name| other.ask(&format!("EXISTS {name}")) == ":0").collect();
            assert!(gone.len() > 50, "{}", gone.len());
            let known = loop {
                client.write(&commands(&["PING"]));
                let (told, heard) = next(&mut client);
                assert_eq!(told, "+PONG");
                if gone.iter().all(|name| heard.contains(&format!("\"{name}\""))) {
                    break heard;
                }
            };
            assert!(known.iter().all(|name| name.starts_with("\"read:")), "{known:?}");
            // Who empties a database has not named its keys. Where that takes several entries it is told of each key.
            client.ask("CLIENT TRACKING OFF");
            client.ask("CLIENT TRACKING ON NOLOOP");
            other.ask("SET a 1");
            client.ask("GET a");
            assert_eq!(client.ask("FLUSHALL"), "+OK");
            assert_eq!(client.read(), ">\"invalidate\" nil]");
            other.ask("SET a 1");
            client.ask("SELECT 1");
            client.ask("SET b 1");
            client.ask("SELECT 0");
            client.ask("GET a");
            assert_eq!(client.ask("FLUSHDB"), "+OK");
            assert_eq!(client.read(), ">\"invalidate\" [\"a\"]]");
        })
        .await;
}

/// As in Redis: what a client is subscribed to is no reply.
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_replies_is_told_of_subscriptions() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        let long = format!("SUBSCRIBE {}", "c".repeat(9_000));
        client.write(&commands(&["CLIENT REPLY OFF", "SUBSCRIBE __keyspace@0__:a", &long]));
        assert_eq!(client.read(), "[\"subscribe\" \"__keyspace@0__:a\" :1]");
        other.ask("SET a 1");
        assert_eq!(client.read(), "[\"message\" \"__keyspace@0__:a\" \"set\"]");
        client.write(&commands(&["UNSUBSCRIBE"]));
        assert_eq!(client.read(), "[\"unsubscribe\" \"__keyspace@0__:a\" :0]");
    })
    .await;
}
