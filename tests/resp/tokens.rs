//! Who may do what.

use super::client::{Client, commands};
use super::replies::told;
use super::server::Server;
use lockstep::api::CreateToken;
use lockstep::front::FrontLimits;
use lockstep::node::{NewToken, Principal, RootToken};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_who_it_is_and_does_what_its_token_allows() {
    let root = NewToken::random().unwrap().text().to_owned();
    let given = Principal::of_token(&root).unwrap();
    let limits = FrontLimits { value_bytes: 10_000, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |mut options| {
        options.require_tokens = Some(RootToken::Given(given.clone()));
        options
    })
    .await;
    let session = server.node.session(given);
    let request = json!({"name": "reader", "grants": [{"role": "read", "prefix": "a"}, {"role": "write", "prefix": "ab"}]});
    let request: CreateToken = serde_json::from_value(request).unwrap();
    let made = session.create_token(request).await.unwrap();
    let (id, token) = (made.id, made.token);
    server
        .run_and_stop(move |address| {
            let mut stranger = Client::connect(address);
            for line in ["GET a", "PING", "INFO", "KEYS *", "EXEC", "CLIENT ID", "NOSUCH"] {
                let told = stranger.ask(line);
                assert!(
                    told.starts_with("-NOAUTH ") || line == "NOSUCH" && told.starts_with("-ERR unknown"),
                    "{line}: {told}"
                );
            }
            let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
            told(
                &mut stranger,
                &[
                    ("AUTH nonsense", wrong),
                    (&format!("AUTH other {token}"), wrong),
                    (&format!("AUTH {}x", &token[..token.len() - 1]), wrong),
                    ("HELLO 3 AUTH default nonsense", wrong),
                    ("GET a", "-NOAUTH Authentication required."),
                ],
            );
            assert!(stranger.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
            // Not more than it takes to say who one is.
            let mut large = Client::connect(address);
            large.write(b"*11\r\n");
            assert_eq!(large.read(), "-ERR Protocol error: unauthenticated multibulk length");
            assert_eq!(large.next(), None);

            // What `redis-cli -u redis://:token@host` sends.
            let mut nameless = Client::connect(address);
            assert_eq!(nameless.ask_words(&[b"AUTH", b"", token.as_bytes()]), "+OK");
            assert_eq!(nameless.ask("ACL WHOAMI"), format!("\"{id}\""));

            let mut client = Client::connect(address);
            assert_eq!(client.ask(&format!("AUTH {id} {token}")), "+OK");
            assert_eq!(client.ask("ACL WHOAMI"), format!("\"{id}\""));
            // In one pipeline, what is allowed is carried out and what is not is not.
            client.write(&commands(&[
                "SET abc 1",
                "SET ac 1",
                "GET abc",
                "GET b",
                "INCR abc",
                "MSET ab 1 b 1",
                "KEYS a*",
                "KEYS *",
            ]));
            let replies: Vec<String> = (0..8).map(|_| client.read()).collect();
            for (at, expected) in [(0, "+OK"), (2, "\"1\""), (4, ":2"), (6, "[\"abc\"]")] {
                assert_eq!(replies[at], expected);
            }
            for at in [1, 3, 5, 7] {
                assert!(replies[at].starts_with("-NOPERM "), "{at} {}", replies[at]);
            }
            assert_eq!(client.ask("SCAN 0 MATCH a* COUNT 1000"), "[\"0\" [\"abc\"]]");
            for line in [
                "SCAN 0",
                "SCAN 0 MATCH b*",
                "FLUSHALL",
                "RENAME abc b",
                "CLIENT KILL ID 1",
                "EVAL return(redis.call('GET','b')) 0",
            ] {
                assert!(client.ask(line).starts_with("-NOPERM "), "{line}");
            }
            assert_eq!(client.ask("MULTI"), "+OK");
            // It hears of what it may read.
            let mut told_of = Client::connect(address);
            told_of.ask(&format!("HELLO 3 AUTH {id} {token}"));
            for (asked, is_allowed) in [
                ("SUBSCRIBE __keyspace@0__:abc", true),
                ("PSUBSCRIBE __keyspace@0__:ab*", true),
                ("CLIENT TRACKING ON BCAST PREFIX ab", true),
                ("SUBSCRIBE __keyspace@0__:b", false),
                ("PSUBSCRIBE __keyspace@*__:ab*", false),
                ("PSUBSCRIBE __keyevent@0__:*", false),
                ("SUBSCRIBE __keyspace@1__:abc", false),
                ("SUBSCRIBE abnews", true),
                ("PSUBSCRIBE abn*", true),
                ("SUBSCRIBE news", false),
                ("PSUBSCRIBE *", false),
                ("PUBLISH news x", false),
                ("UNSUBSCRIBE abnews", true),
                ("PUNSUBSCRIBE abn*", true),
                ("CLIENT TRACKING ON BCAST PREFIX b", false),
                ("CLIENT TRACKING OFF", true),
                ("CLIENT TRACKING ON", false),
                ("CLIENT TRACKING ON BCAST PREFIX ab", true),
            ] {
                assert_eq!(!told_of.ask(asked).starts_with("-NOPERM "), is_allowed, "{asked}");
            }
            let mut setter = Client::connect(address);
            setter.ask(&format!("AUTH {token}"));
            assert_eq!(setter.ask("SET abc 7"), "+OK");
            let heard = [told_of.read(), told_of.read(), told_of.read()].concat();
            assert!(heard.contains("pmessage") && heard.contains("invalidate"), "{heard}");
            // However many channels it is told of.
            let mut many = Client::connect(address);
            many.ask(&format!("AUTH {token}"));
            let channels: String = (0..40).map(|at| format!(" abc{at}")).collect();
            many.write(format!("SUBSCRIBE{channels}\r\n").as_bytes());
            (0..40).for_each(|at| assert!(many.read().starts_with(&format!("[\"subscribe\" \"abc{at}\""))));
            assert_eq!(setter.ask("PUBLISH abc39 x"), ":1");
            assert_eq!(many.read(), "[\"message\" \"abc39\" \"x\"]");
            // In a transaction, too.
            told(
                &mut setter,
                &[
                    ("MULTI", "+OK"),
                    ("SET abd 1", "+QUEUED"),
                    ("KEYS ab*", "+QUEUED"),
                    ("SCAN 0 MATCH ab* COUNT 1000", "+QUEUED"),
                    ("EXEC", "[+OK [\"abc\" \"abd\"] [\"0\" [\"abc\" \"abd\"]]]"),
                    ("DEL abd", ":1"),
                ],
            );
            assert!(client.ask("SET b 1").starts_with("-NOPERM "));
            assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
            assert_eq!(client.ask("CLIENT LIST").matches("id=").count(), 1, "it sees itself only");

            let mut admin = Client::connect(address);
            assert!(admin.ask(&format!("HELLO 2 AUTH default {root}")).starts_with("[\"server\""));
            assert_eq!((admin.ask("GET b"), admin.ask("GET ab")), ("nil".into(), "nil".into()));
            assert!(admin.ask("CLIENT LIST").matches("id=").count() > 1);
            assert_eq!(admin.ask("RESET"), "+RESET");
            assert!(admin.ask("GET a").starts_with("-NOAUTH "));
        })
        .await;
}
