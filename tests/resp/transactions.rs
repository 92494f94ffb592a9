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

#[tokio::test(flavor = "multi_thread")]
async fn scripts_and_commands_about_all_keys_are_a_part_of_transactions() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        let script = |client: &mut Client, text: &str| {
            assert_eq!(client.ask_words(&[b"EVAL", text.as_bytes(), b"1", b"s"]), "+QUEUED");
        };
        told(&mut client, &[("SET a 1", "+OK"), ("MULTI", "+OK"), ("DBSIZE", "+QUEUED"), ("SET b 1", "+QUEUED")]);
        script(&mut client, "return redis.call('INCRBY', KEYS[1], 5)");
        // It fails, and changes nothing; what is around it is carried out.
        script(&mut client, "redis.call('SET', KEYS[1], 'x') return redis.call('INCR', KEYS[1])");
        // It fails in a command, and goes on.
        script(&mut client, "redis.pcall('INCR', 's', 's') return redis.call('GET', KEYS[1])");
        script(&mut client, "return #redis.call('KEYS', '*')");
        let failed = "-ERR value is not an integer or out of range script: ";
        let lines = "KEYS ?|DBSIZE|SCAN 0|SCAN 0 TYPE hash|RANDOMKEY|SELECT 1|DBSIZE|SET other 1|DBSIZE|SELECT 0|EVALSHA 00 0|SCAN x|SCRIPT EXISTS 00";
        for line in lines.split('|') {
            assert_eq!(client.ask(line), "+QUEUED", "{line}");
        }
        let told_all = client.ask("EXEC");
        let (before, rest) = told_all.split_once(failed).expect("a script fails");
        assert_eq!(before, "[:1 +OK :5 ", "{told_all}");
        let (_, rest) = rest.split_once("user_script:1. ").expect("where it failed");
        let found: Vec<&str> = rest.split(' ').collect();
        let random = found.iter().position(|word| *word == "+OK").expect("SELECT") - 1;
        assert!(["\"a\"", "\"b\"", "\"s\""].contains(&found[random]), "{rest}");
        let expected = format!(
            "\"5\" :3 [\"a\" \"b\" \"s\"] :3 [\"0\" [\"a\" \"b\" \"s\"]] [\"0\" []] {} +OK :0 +OK :1 +OK -NOSCRIPT No matching script. Please use EVAL. -ERR invalid cursor [:0]]",
            found[random]
        );
        assert_eq!(rest, expected);
        told(&mut client, &[("GET s", "\"5\""), ("MULTI", "+OK"), ("INFO keyspace", "+QUEUED"), ("KEYS *", "+QUEUED")]);
        let info = client.ask("EXEC");
        assert!(info.contains("db0:keys=3") && info.contains("db1:keys=1"), "{info}");
        told(&mut client, &[
            ("MULTI", "+OK"),
            ("FLUSHDB", "+QUEUED"),
            ("SET a 1", "+QUEUED"),
            ("EXEC", "-EXECABORT nothing was done: FLUSHDB and FLUSHALL cannot be carried out as one with other commands about data, or after WATCH"),
            ("MULTI", "+OK"),
            ("FLUSHDB", "+QUEUED"),
            ("EXEC", "-EXECABORT nothing was done: database 0 cannot be emptied as one while others have keys; send FLUSHDB outside MULTI, or FLUSHALL"),
            ("DBSIZE", ":3"),
            ("MULTI", "+OK"),
            ("FLUSHALL no", "+QUEUED"),
            ("FLUSHALL", "+QUEUED"),
            ("PING", "+QUEUED"),
            ("EXEC", "[-ERR syntax error +OK +PONG]"),
            ("DBSIZE", ":0"),
            ("SET a 1", "+OK"),
            ("MULTI", "+OK"),
            ("FLUSHDB", "+QUEUED"),
            ("EXEC", "[+OK]"),
            ("DBSIZE", ":0"),
            ("MULTI", "+OK"),
            ("SUBSCRIBE a", "-ERR SUBSCRIBE is not supported inside MULTI by Lockstep"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
            ("CLIENT k", "-ERR unknown subcommand 'k'. Try CLIENT HELP."),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
            ("OBJECT k", "-ERR unknown subcommand 'k'. Try OBJECT HELP."),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
        ]);
        for _ in 0..16 {
            assert_eq!(client.ask("DBSIZE"), "+QUEUED");
        }
        assert_eq!(client.ask("DBSIZE"), "-ERR a transaction can have 16 commands about all keys");
    })
    .await;
}

/// What is watched decides whether scripts are carried out, and they compute for 500 ms together.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_in_transactions_have_bounds() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        client.ask("WATCH w");
        other.ask("SET w 1");
        client.ask("MULTI");
        client.ask_words(&[b"EVAL", b"return redis.call('SET', 'a', 1)", b"0"]);
        assert_eq!(client.ask("EXEC"), "nil");
        assert_eq!(client.ask("EXISTS a"), ":0");
        client.ask("MULTI");
        for _ in 0..40 {
            client.ask_words(&[b"EVAL", b"redis.call('SET', 'x', 1) while true do end", b"0"]);
        }
        client.ask("SET a 1");
        let begun = std::time::Instant::now();
        let told = client.ask("EXEC");
        assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!(told.matches("computes for too long").count(), 40, "{told}");
        assert!(told.ends_with("+OK]"), "{told}");
        assert_eq!(client.ask("EXISTS x"), ":0");
    })
    .await;
}

/// All that a transaction is told is of one moment, whatever others do meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_all_keys_is_of_the_moment_of_the_transaction() {
    const ROUNDS: usize = 150;
    Server::run(|address| {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let writing = std::thread::spawn(move || {
            let mut other = Client::connect(address);
            let mut number = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                // Two keys come and one goes with each step, and the counter says how many there are.
                other.ask("MULTI");
                other.ask("INCR n");
                other.ask(&format!("MSET k:{number} 1 l:{number} 1"));
                other.ask(&format!("DEL l:{}", number - 1));
                let told = other.ask("EXEC");
                assert!(told.starts_with('['), "{told}");
            }
            number
        });
        let mut client = Client::connect(address);
        let (mut told, mut newest) = (0, 0);
        while told < ROUNDS {
            for line in
                ["MULTI", "KEYS k:*", "SET mine 1", "DBSIZE", "DEL mine", "GET n", "DBSIZE", "KEYS l:*"]
            {
                client.ask(line);
            }
            let reply = client.ask("EXEC");
            if reply.starts_with("-UNAVAILABLE nothing was done") {
                continue;
            }
            let (keys, rest) =
                reply.trim_start_matches("[[").split_once("] +OK :").unwrap_or_else(|| panic!("{reply}"));
            let rest: Vec<&str> = rest.split(' ').collect();
            let size: usize = rest[0].parse().unwrap();
            let number: usize = rest[2].trim_matches('"').parse().unwrap_or(0);
            assert_eq!(keys.split(' ').filter(|key| !key.is_empty()).count(), number, "{reply}");
            // The counter, one of the second kind, and one of its own for a moment.
            let expected = if number == 0 { 0 } else { number + 2 };
            assert_eq!((size, rest[3]), (expected + 1, format!(":{expected}").as_str()), "{reply}");
            if number > 0 {
                assert_eq!(rest[4], format!("[\"l:{number}\"]]"), "{reply}");
            }
            (told, newest) = (told + 1, newest.max(number));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(writing.join().unwrap() >= newest && newest > 0);
    })
    .await;
}

/// Redis changes the database only where the transaction happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_happen_changes_no_database() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        let aborted = "-EXECABORT Transaction discarded because of previous errors.";
        let wrong =
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
        for (fails, ends, expected, database) in [
            ("WATCHED", "EXEC", "nil", 2),
            ("NOSUCH", "EXEC", aborted, 2),
            ("PING", "EXEC 1", wrong, 2),
            ("PING", "DISCARD", "+OK", 2),
            ("FLUSHDB", "EXEC", "-EXECABORT nothing was done", 2),
            ("PING", "EXEC", "[+OK +OK", 3),
        ] {
            client.ask("SELECT 2");
            client.ask("WATCH a");
            client.ask("MULTI");
            assert_eq!(client.ask("SELECT 3"), "+QUEUED");
            assert_eq!(client.ask("SET b 1"), "+QUEUED");
            if fails == "WATCHED" {
                other.ask("SELECT 2");
                other.ask("INCR a");
            } else {
                client.ask(fails);
            }
            let told = client.ask(ends);
            assert!(told.starts_with(expected), "{fails} {ends}: {told}");
            let info = client.ask("CLIENT INFO");
            assert!(info.contains(&format!(" db={database} ")), "{fails} {ends}: {info}");
            client.ask("SET here 1");
            other.ask(&format!("SELECT {database}"));
            assert_eq!(other.ask("DEL here"), ":1", "{fails} {ends}");
            client.ask("UNWATCH");
        }
        other.ask("SELECT 3");
        assert_eq!(other.ask("GET b"), "\"1\"");
    })
    .await;
}
