//! Hashes: what each command is answered, and hashes that are large.

use super::client::{Client, commands};
use super::replies::told;
use super::server::Server;
use lockstep::front::FrontLimits;
use std::collections::BTreeSet;
use std::io::Write;

const WRONG_KIND: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[tokio::test(flavor = "multi_thread")]
async fn fields() {
    Server::run(|address| {
        told(
            &mut Client::connect(address),
            &[
                ("HSET h b 2 a 1 b 3", ":2"),
                ("HSET h a 1 c", "-ERR wrong number of arguments for 'hset' command"),
                ("HMSET h c 4 d 5", "+OK"),
                ("HSETNX h d 6", ":0"),
                ("HSETNX h e 6", ":1"),
                ("HGET h b", "\"3\""),
                ("HGET h x", "nil"),
                ("HGET x x", "nil"),
                ("HMGET h a x b", "[\"1\" nil \"3\"]"),
                ("HMGET x a b", "[nil nil]"),
                ("HGETALL h", "[\"a\" \"1\" \"b\" \"3\" \"c\" \"4\" \"d\" \"5\" \"e\" \"6\"]"),
                ("HGETALL x", "[]"),
                ("HKEYS h", "[\"a\" \"b\" \"c\" \"d\" \"e\"]"),
                ("HVALS h", "[\"1\" \"3\" \"4\" \"5\" \"6\"]"),
                ("HKEYS x", "[]"),
                ("HLEN h", ":5"),
                ("HLEN x", ":0"),
                ("HEXISTS h a", ":1"),
                ("HEXISTS h x", ":0"),
                ("HSTRLEN h a", ":1"),
                ("HSTRLEN h x", ":0"),
                ("HDEL h a x b", ":2"),
                ("HDEL x a", ":0"),
                ("HINCRBY h n 5", ":5"),
                ("HINCRBY h n -7", ":-2"),
                ("HINCRBY h n x", "-ERR value is not an integer or out of range"),
                ("HINCRBYFLOAT h f 1.5", "\"1.5\""),
                ("HINCRBYFLOAT h f 1e1", "\"11.5\""),
                ("HINCRBYFLOAT h f x", "-ERR value is not a valid float"),
                ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity"),
                ("HINCRBY h f 1", "-ERR hash value is not an integer"),
                ("HSET h w word m 9223372036854775807", ":2"),
                ("HINCRBYFLOAT h w 1", "-ERR hash value is not a float"),
                ("HINCRBY h m 1", "-ERR increment or decrement would overflow"),
                ("HDEL h c d e n f w m", ":7"),
                ("EXISTS h", ":0"),
                ("TYPE h", "+none"),
            ],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_a_key_as_others_and_no_string() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(
            &mut client,
            &[
                ("HSET h a 1", ":1"),
                ("TYPE h", "+hash"),
                ("OBJECT ENCODING h", "\"listpack\""),
                ("EXPIRE h 100", ":1"),
                ("HSET h b 2", ":1"),
                ("HINCRBY h a 1", ":2"),
                ("HDEL h b", ":1"),
                ("TTL h", ":100"),
                ("COPY h g", ":1"),
                ("RENAME g i", "+OK"),
                ("HGETALL i", "[\"a\" \"2\"]"),
                ("TTL i", ":100"),
                ("SET s text", "+OK"),
                ("MGET h s", "[nil \"text\"]"),
                ("SET h x NX", "nil"),
                ("SETNX h x", ":0"),
                ("SCAN 0 TYPE string", "[\"0\" [\"s\"]]"),
                ("SCAN 0 TYPE list", "[\"0\" []]"),
            ],
        );
        let of_hashes = client.ask("SCAN 0 TYPE hash");
        assert!(
            ["[\"0\" [\"h\" \"i\"]]", "[\"0\" [\"i\" \"h\"]]"].contains(&of_hashes.as_str()),
            "{of_hashes}"
        );
        for command in [
            "GET h",
            "GETSET h x",
            "GETDEL h",
            "GETEX h",
            "GETEX h PERSIST",
            "GETRANGE h 0 1",
            "SET h x GET",
            "SET h x XX GET",
            "SET h x NX GET",
            "SET h x IFEQ x",
            "DELIFEQ h x",
            "APPEND h x",
            "STRLEN h",
            "SETRANGE h 0 x",
            "INCR h",
            "INCRBYFLOAT h 1",
            "HSET s a 1",
            "HSETNX s a 1",
            "HGET s a",
            "HMGET s a",
            "HGETALL s",
            "HDEL s a",
            "HEXISTS s a",
            "HLEN s",
            "HKEYS s",
            "HVALS s",
            "HSTRLEN s a",
            "HINCRBY s a 1",
            "HINCRBYFLOAT s a 1",
            "HSCAN s 0",
            "HRANDFIELD s",
        ] {
            assert_eq!(client.ask(command), WRONG_KIND, "{command}");
        }
        told(
            &mut client,
            &[
                ("HGETALL h", "[\"a\" \"2\"]"),
                ("GET s", "\"text\""),
                ("SET h x", "+OK"),
                ("HLEN h", WRONG_KIND),
                ("TYPE h", "+string"),
                ("MULTI", "+OK"),
                ("HSET t a 1", "+QUEUED"),
                ("HGETALL t", "+QUEUED"),
                ("HINCRBY h a 1", "+QUEUED"),
                ("HDEL t a", "+QUEUED"),
            ],
        );
        assert_eq!(client.ask("EXEC"), format!("[:1 [\"a\" \"1\"] {WRONG_KIND} :1]"));
        let script = "return redis.call('HGETALL', KEYS[1])";
        let words = [b"EVAL", script.as_bytes(), b"1", b"i"];
        assert_eq!(client.ask_words(&words), "[\"a\" \"2\"]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_and_random_fields_in_version_3() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(
            &mut client,
            &[("HSET h a 1", ":1"), ("HRANDFIELD h -2 WITHVALUES", "[\"a\" \"1\" \"a\" \"1\"]")],
        );
        assert!(client.ask("HELLO 3").starts_with('{'));
        told(
            &mut client,
            &[
                ("HGETALL h", "{\"a\" \"1\"}"),
                ("HGETALL x", "{}"),
                ("HRANDFIELD h", "\"a\""),
                ("HRANDFIELD x", "nil"),
                ("HRANDFIELD h 5", "[\"a\"]"),
                ("HRANDFIELD h 0", "[]"),
                ("HRANDFIELD x 5", "[]"),
                ("HRANDFIELD h -3", "[\"a\" \"a\" \"a\"]"),
                ("HRANDFIELD h 1 WITHVALUES", "[[\"a\" \"1\"]]"),
                ("HRANDFIELD h -200000", "-ERR the answer is too large: ask for fewer fields at a time"),
                ("HRANDFIELD h x", "-ERR value is not an integer or out of range"),
                ("HSCAN h 0", "[\"0\" [\"a\" \"1\"]]"),
                ("HSCAN h 0 NOVALUES", "[\"0\" [\"a\"]]"),
                ("HSCAN h 0 MATCH b*", "[\"0\" []]"),
                ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
                ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
                ("HSCAN x 0 COUNT 0", "[\"0\" []]"),
                ("HSCAN h x", "-ERR invalid cursor"),
            ],
        );
    })
    .await;
}

/// Each of many changes copies the whole of a large hash: they take several log entries, and come in their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_fills_a_large_hash() {
    const FIELDS: usize = 3_000;
    let server = Server::start_with(FrontLimits::default(), None, |options| options).await;
    server
        .run_and_stop(|address| {
            let mut client = Client::connect(address);
            let value = "x".repeat(200);
            let mut lines: Vec<String> =
                (0..FIELDS).map(|field| format!("HSET h f{field} {value}")).collect();
            lines.extend((0..100).map(|_| "HINCRBY h f-count 1".to_owned()));
            lines.push("HLEN h".into());
            lines.extend((0..5).map(|_| "HGETALL h".to_owned()));
            lines.push("HDEL h f0".into());
            let stream = commands(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let mut writer = client.stream();
            let writing = std::thread::spawn(move || writer.write_all(&stream).unwrap());
            (0..FIELDS).for_each(|field| assert_eq!(client.read(), ":1", "{field}"));
            (1..=100).for_each(|count| assert_eq!(client.read(), format!(":{count}")));
            assert_eq!(client.read(), format!(":{}", FIELDS + 1));
            (0..5).for_each(|_| assert_eq!(client.read().split(' ').count(), 2 * (FIELDS + 1)));
            assert_eq!(client.read(), ":1");
            writing.join().unwrap();
            told(&mut client, &[("OBJECT ENCODING h", "\"hashtable\"")]);

            // What is one step cannot take several entries.
            let script = "for i = 1, 300 do redis.call('HINCRBY', KEYS[1], 'by-script', 1) end";
            let refused = client.ask_words(&[b"EVAL", script.as_bytes(), b"1", b"h"]);
            assert!(refused.starts_with("-ERR it changes large values too often"), "{refused}");
            told(&mut client, &[("HEXISTS h by-script", ":0")]);

            let (mut names, mut cursor, mut calls) = (BTreeSet::new(), "0".to_owned(), 0);
            loop {
                let page = client.ask(&format!("HSCAN h {cursor} MATCH f1* NOVALUES"));
                let words: Vec<String> = page
                    .split(['"', '[', ']', ' '])
                    .filter(|word| !word.is_empty())
                    .map(Into::into)
                    .collect();
                cursor.clone_from(&words[0]);
                for name in &words[1..] {
                    assert!(names.insert(name.clone()), "{name} twice");
                }
                calls += 1;
                if cursor == "0" {
                    break;
                }
            }
            let wanted = (1..FIELDS).map(|field| format!("f{field}")).filter(|name| name.starts_with("f1"));
            assert_eq!(names, wanted.collect());
            assert!(calls > 10, "{calls} calls");
        })
        .await;
}
