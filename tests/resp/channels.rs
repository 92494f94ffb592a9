//! Channels of clients' own.

use super::client::{Client, command};
use super::replies::told;
use super::server::Server;
use lockstep::cache::limits::KEY_BYTES_MAX;

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_told_to_who_is_subscribed() {
    Server::run(|address| {
        let connect = || Client::connect(address);
        let (mut one, mut all, mut sender) = (connect(), connect(), connect());
        assert_eq!(sender.ask("PUBLISH news nobody"), ":0");
        assert_eq!(one.ask("SUBSCRIBE news"), "[\"subscribe\" \"news\" :1]");
        assert_eq!(one.ask("SUBSCRIBE news"), "[\"subscribe\" \"news\" :1]");
        assert_eq!(all.ask("PSUBSCRIBE n*s"), "[\"psubscribe\" \"n*s\" :1]");
        told(
            &mut sender,
            &[
                ("PUBLISH news first", ":2"),
                ("PUBLISH nets second", ":1"),
                ("PUBLISH other third", ":0"),
                ("SET news value", "+OK"),
                ("PUBLISH news fourth", ":2"),
                ("PUBSUB NUMSUB news nets", "[\"news\" :1 \"nets\" :0]"),
                ("PUBSUB NUMPAT", ":1"),
                ("PUBSUB CHANNELS", "[\"news\"]"),
                ("PUBSUB CHANNELS x*", "[]"),
                ("PUBSUB NUMSUB", "[]"),
            ],
        );
        let from_news = ["first", "fourth"];
        for message in from_news {
            assert_eq!(one.read(), format!("[\"message\" \"news\" \"{message}\"]"));
        }
        for (channel, message) in [("news", "first"), ("nets", "second"), ("news", "fourth")] {
            assert_eq!(all.read(), format!("[\"pmessage\" \"n*s\" \"{channel}\" \"{message}\"]"));
        }
        // What was kept of the key of that name is another thing.
        assert_eq!(sender.ask("GET news"), "\"value\"");
        // Any bytes can be a channel and a message, the empty ones too.
        let strange = b"\xac\xed\r\n\0";
        one.write(&command(&[b"SUBSCRIBE", strange, b""]));
        assert!(one.read().starts_with("[\"subscribe\""));
        assert!(one.read().starts_with("[\"subscribe\" \"\" :3]"));
        sender.write(&command(&[b"PUBLISH", strange, strange]));
        assert_eq!(sender.read(), ":1");
        let heard = one.read();
        assert_eq!(heard.matches("\u{fffd}\u{fffd}\\r\\n\\0").count(), 2, "{heard}");
        sender.write(&command(&[b"PUBLISH", b"", b""]));
        assert_eq!(sender.read(), ":1");
        assert_eq!(one.read(), "[\"message\" \"\" \"\"]");
        // Whoever leaves is not counted any more.
        assert_eq!(all.ask("PUNSUBSCRIBE"), "[\"punsubscribe\" \"n*s\" :0]");
        assert_eq!(sender.ask("PUBLISH news 1"), ":1");
        assert_eq!(one.read(), "[\"message\" \"news\" \"1\"]");
        assert_eq!(one.ask("RESET"), "+RESET");
        drop(all);
        assert_eq!(sender.ask("PUBLISH news 1"), ":0");
        assert_eq!((sender.ask("PUBSUB CHANNELS"), sender.ask("PUBSUB NUMPAT")), ("[]".into(), ":0".into()));
    })
    .await;
}

/// Whoever subscribes to another channel is not told what was said there before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_from_before_a_subscription() {
    Server::run(|address| {
        let (mut hears, mut sender) = (Client::connect(address), Client::connect(address));
        assert_eq!(hears.ask("SUBSCRIBE a"), "[\"subscribe\" \"a\" :1]");
        for (before, asked, told) in [
            ("PUBLISH b before", "SUBSCRIBE b", "[\"subscribe\" \"b\" :2]"),
            ("PUBLISH c1 before", "PSUBSCRIBE c*", "[\"psubscribe\" \"c*\" :3]"),
            ("SET d before", "SUBSCRIBE __keyspace@0__:d", "[\"subscribe\" \"__keyspace@0__:d\" :4]"),
        ] {
            sender.ask(before);
            assert_eq!(hears.ask(asked), told);
        }
        for after in ["PUBLISH b after", "PUBLISH c1 after", "SET d 1", "PUBLISH a after"] {
            sender.ask(after);
        }
        for told in [
            "[\"message\" \"b\" \"after\"]",
            "[\"pmessage\" \"c*\" \"c1\" \"after\"]",
            "[\"message\" \"__keyspace@0__:d\" \"set\"]",
            "[\"message\" \"a\" \"after\"]",
        ] {
            assert_eq!(hears.read(), told);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_client_may_say_is_refused() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        for channel in ["__keyspace@0__:a", "__keyevent@0__:set", "__redis__:invalidate"] {
            let refused = client.ask(&format!("PUBLISH {channel} x"));
            assert!(refused.starts_with("-ERR only Lockstep itself publishes"), "{refused}");
        }
        let long = "c".repeat(KEY_BYTES_MAX + 1);
        for line in [format!("PUBLISH {long} x"), format!("SUBSCRIBE {long}")] {
            assert!(client.ask(&line).starts_with("-ERR "));
        }
        told(
            &mut client,
            &[
                ("PUBLISH a", "-ERR wrong number of arguments for 'publish' command"),
                ("PUBSUB NUMPAT x", "-ERR wrong number of arguments for 'pubsub|numpat' command"),
                (
                    "PUBSUB CHANNELS x y",
                    "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
                ),
                ("GET a", "nil"),
                // As in Redis, it is found out when it is carried out.
                ("MULTI", "+OK"),
                ("PUBSUB CHANNELS x y", "+QUEUED"),
                (
                    "EXEC",
                    "[-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.]",
                ),
            ],
        );
    })
    .await;
}

/// A message has its place between the writes of its transaction or script, and is not sent if those are not carried out.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_transactions_and_scripts_come_with_their_writes() {
    Server::run(|address| {
        let (mut hears, mut sender, mut other) =
            (Client::connect(address), Client::connect(address), Client::connect(address));
        hears.ask("HELLO 3");
        hears.ask("SUBSCRIBE jobs");
        hears.ask("SUBSCRIBE __keyspace@0__:job");
        told(
            &mut sender,
            &[
                ("MULTI", "+OK"),
                ("SET job 1", "+QUEUED"),
                ("PUBLISH jobs made", "+QUEUED"),
                ("EXEC", "[+OK :1]"),
                // A transaction that does not happen says nothing.
                ("WATCH job", "+OK"),
                ("MULTI", "+OK"),
                ("PUBLISH jobs never", "+QUEUED"),
            ],
        );
        other.ask("DEL job");
        assert_eq!(sender.ask("EXEC"), "nil");
        let script = |body: &str, rest: &[&str]| {
            let mut words = vec!["EVAL".as_bytes(), body.as_bytes()];
            words.extend(rest.iter().map(|word| word.as_bytes()));
            command(&words)
        };
        let said = "redis.call('SET', KEYS[1], 2); return redis.call('PUBLISH', 'jobs', ARGV[1])";
        sender.write(&script(said, &["1", "job", "scripted"]));
        assert_eq!(sender.read(), ":1");
        sender.write(&script("redis.call('PUBLISH', 'jobs', 'never'); error('no')", &["0"]));
        assert!(sender.read().starts_with("-ERR "));
        sender.write(&script("return redis.call('PUBLISH', 'jobs', 'alone')", &["0"]));
        assert_eq!(sender.read(), ":1");
        sender.write(&script("#!lua flags=no-writes\nreturn redis.call('PUBLISH', 'jobs', 'never')", &["0"]));
        assert!(sender.read().starts_with("-ERR Write commands are not allowed"));
        // With commands that need copies, too.
        told(
            &mut sender,
            &[
                ("MULTI", "+OK"),
                ("RENAME job other", "+QUEUED"),
                ("PUBLISH jobs renamed", "+QUEUED"),
                ("EXEC", "[+OK :1]"),
                ("LOCKSTEP.ONCE id-1 PUBLISH jobs once", ":1"),
                ("LOCKSTEP.ONCE id-1 PUBLISH jobs once", ":1"),
                ("PUBLISH jobs last", ":1"),
            ],
        );
        let message = |text: &str| format!(">\"message\" \"jobs\" \"{text}\"]");
        let event = |text: &str| format!(">\"message\" \"__keyspace@0__:job\" \"{text}\"]");
        for expected in [
            event("set"),
            message("made"),
            event("del"),
            event("set"),
            message("scripted"),
            message("alone"),
            event("del"),
            message("renamed"),
            message("once"),
            message("last"),
        ] {
            assert_eq!(hears.read(), expected);
        }
    })
    .await;
}
