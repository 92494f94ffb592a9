//! What each command is answered. The replies are those of a Redis 7 server, which `tests/redis` compares with.

use super::client::Client;
use super::server::Server;
use lockstep::cache::{Command, ConfigChange, Policy};
use lockstep::node::{Principal, WriteRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks, and compares what is told.
pub fn told(client: &mut Client, expected: &[(&str, &str)]) {
    for (asked, reply) in expected {
        assert_eq!(client.ask(asked), *reply, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings() {
    Server::run(|address| {
        told(
            &mut Client::connect(address),
            &[
                ("GET a", "nil"),
                ("SET a 1", "+OK"),
                ("get a", "\"1\""),
                ("SET a 2 NX", "nil"),
                ("SET a 2 NX GET", "\"1\""),
                ("SET a 2 XX GET", "\"1\""),
                ("SET a 3 IFEQ 1", "nil"),
                ("SET a 3 IFEQ 2", "+OK"),
                ("SET a 4 IFNE 3", "nil"),
                ("SET a 4 NX XX", "-ERR syntax error"),
                ("SET a 4 EX 10 PX 10", "-ERR syntax error"),
                ("SET a 4 EX 0", "-ERR invalid expire time in 'set' command"),
                ("SET a 4 EX x", "-ERR value is not an integer or out of range"),
                ("SET a 4 PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
                ("SET a", "-ERR wrong number of arguments for 'set' command"),
                ("GET a", "\"3\""),
                ("SETNX a 9", ":0"),
                ("GETSET a 5", "\"3\""),
                ("APPEND a 67", ":3"),
                ("STRLEN a", ":3"),
                ("GETRANGE a 1 -1", "\"67\""),
                ("GETRANGE a 5 9", "\"\""),
                ("SUBSTR a -2 -2", "\"6\""),
                ("SETRANGE a 4 x", ":5"),
                ("GET a", "\"567\\0x\""),
                ("GETDEL a", "\"567\\0x\""),
                ("GETDEL a", "nil"),
                ("MSET a 1 b 2", "+OK"),
                ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
                ("MGET a nothing b", "[\"1\" nil \"2\"]"),
                ("MSETNX b 3 c 4", ":0"),
                ("MSETNX c 3 d 4", ":1"),
                ("MSETEX 2 c 5 d 6 XX EX 100", ":1"),
                ("MSETEX 1 e 5 XX", ":0"),
                ("MGET c d e", "[\"5\" \"6\" nil]"),
                ("TTL d", ":100"),
                ("DELIFEQ d 7", ":0"),
                ("DELIFEQ d 6", ":1"),
                ("DELEX c IFNE 5", ":0"),
                ("DELEX c", ":1"),
                ("OBJECT ENCODING a", "\"int\""),
                ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'"),
            ],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers() {
    Server::run(|address| {
        told(
            &mut Client::connect(address),
            &[
                ("INCR n", ":1"),
                ("INCRBY n 41", ":42"),
                ("DECR n", ":41"),
                ("DECRBY n 1", ":40"),
                ("INCRBY n 9223372036854775807", "-ERR increment or decrement would overflow"),
                ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
                ("INCRBY n 1.5", "-ERR value is not an integer or out of range"),
                ("INCRBYFLOAT n 1.5", "\"41.5\""),
                ("INCRBYFLOAT n 0.5", "\"42\""),
                ("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity"),
                ("INCRBYFLOAT n x", "-ERR value is not a valid float"),
                ("SET s 007", "+OK"),
                ("INCR s", "-ERR value is not an integer or out of range"),
                ("GET s", "\"007\""),
            ],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(
            &mut client,
            &[
                ("SETEX a 100 1", "+OK"),
                ("TTL a", ":100"),
                ("SET a 2 KEEPTTL", "+OK"),
                ("TTL a", ":100"),
                ("EXPIRE a 200 LT", ":0"),
                ("EXPIRE a 50 XX LT", ":1"),
                ("EXPIRE a 200 GT", ":1"),
                ("EXPIRE a 10 NX", ":0"),
                ("EXPIRE a x NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
                ("EXPIRE a 1 bad", "-ERR Unsupported option bad"),
                ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
                ("PERSIST a", ":1"),
                ("PERSIST a", ":0"),
                ("EXPIRE a 10 XX LT", ":0"),
                ("TTL a", ":-1"),
                ("TTL nothing", ":-2"),
                ("PEXPIREAT a 4102444800123", ":1"),
                ("PEXPIRETIME a", ":4102444800123"),
                ("EXPIRETIME a", ":4102444800"),
                ("GETEX a PERSIST", "\"2\""),
                ("GETEX nothing PX x", "nil"),
                ("GETEX a PX x", "-ERR value is not an integer or out of range"),
                ("PTTL a", ":-1"),
                ("EXPIRE a 0", ":1"),
                ("EXISTS a", ":0"),
                ("EXPIRE a 10", ":0"),
                ("SET a 1 PXAT 1", "+OK"),
                ("GET a", "nil"),
            ],
        );
        client.ask("SET short 1 PX 1");
        // Any write moves log time on.
        while client.ask("GET short") != "nil" {
            client.ask("INCR clock");
        }
        assert_eq!(client.ask("TYPE short"), "+none");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(
            &mut client,
            &[
                ("MSET user:1 a user:2 b x c", "+OK"),
                ("EXISTS user:1 user:1 nothing", ":2"),
                ("TYPE x", "+string"),
                ("TOUCH x nothing", ":1"),
                ("DBSIZE", ":3"),
                ("KEYS user:?", "[\"user:1\" \"user:2\"]"),
                ("SCAN 0 MATCH x", "[\"0\" [\"x\"]]"),
                ("SCAN 0 TYPE list", "[\"0\" []]"),
                ("SCAN x", "-ERR invalid cursor"),
                ("RENAME nothing y", "-ERR no such key"),
                ("RENAME x y", "+OK"),
                ("RENAMENX y user:1", ":0"),
                ("RENAMENX y x", ":1"),
                ("COPY x user:1", ":0"),
                ("COPY x user:1 REPLACE", ":1"),
                ("GET user:1", "\"c\""),
                ("COPY x x", "-ERR source and destination objects are the same"),
                ("SELECT 3", "+OK"),
                ("DBSIZE", ":0"),
                ("SET x 3", "+OK"),
                ("RANDOMKEY", "\"x\""),
                ("MOVE x 0", ":0"),
                ("MOVE x 4", ":1"),
                ("SELECT 4", "+OK"),
                ("KEYS *", "[\"x\"]"),
                ("SELECT 16", "-ERR DB index is out of range"),
                ("SELECT 0", "+OK"),
                ("DEL x user:1 nothing", ":2"),
                ("UNLINK user:2", ":1"),
                ("SET keeps 1", "+OK"),
                ("FLUSHDB", "+OK"),
                ("DBSIZE", ":0"),
                ("SELECT 4", "+OK"),
                ("GET x", "\"3\""),
                ("FLUSHALL", "+OK"),
                ("DBSIZE", ":0"),
            ],
        );
        // Each has its turn.
        client.ask("FLUSHALL");
        client.ask("MSET r:1 a r:2 b r:3 c");
        let mut met = std::collections::BTreeSet::new();
        while met.len() < 3 {
            met.insert(client.ask("RANDOMKEY"));
        }
        client.ask("FLUSHALL");
        // Keys are any bytes.
        let odd: [&[u8]; 5] = [b"", b"\xac\xed\x00\x05", b"a\r\nb", b"..", "\u{241b}x".as_bytes()];
        for key in odd {
            assert_eq!(client.ask_words(&[b"SET", key, b"v"]), "+OK");
            assert_eq!(client.ask_words(&[b"GET", key]), "\"v\"");
        }
        assert_eq!((client.ask("DBSIZE"), client.ask("KEYS *").matches('"').count()), (":5".into(), 10));
        client.ask("SELECT 0");
        let long = vec![b'k'; 4_096];
        assert_eq!(client.ask_words(&[b"SET", &long, b"v"]), "+OK");
        let too_long = client.ask_words(&[b"SET", &[&long[..], b"k"].concat(), b"v"]);
        assert!(too_long.starts_with("-ERR "), "{too_long}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(&mut client, &[
            ("PING", "+PONG"),
            ("PING hello", "\"hello\""),
            ("ECHO a", "\"a\""),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT GETNAME", "\"me\""),
            ("CLIENT SETINFO LIB-NAME test", "+OK"),
            ("CLIENT NO-EVICT ON", "+OK"),
            ("READONLY", "+OK"),
            ("WAIT 0 100", ":0"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("CONFIG GET databases", "[\"databases\" \"16\"]"),
            ("CONFIG GET maxmemory-*", "[\"maxmemory-policy\" \"allkeys-lru\"]"),
            ("CONFIG SET save x", "-ERR CONFIG SET failed (possibly related to argument 'save') - can't set immutable config: `lockstep config` changes the cluster's settings"),
            ("COMMAND GETKEYS MSET a 1 b 2", "[\"a\" \"b\"]"),
            ("ACL WHOAMI", "\"default\""),
            ("AUTH default secret", "+OK"),
            ("AUTH bob secret", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("AUTH secret", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"),
        ]);
        let hello = client.ask("HELLO 3 SETNAME other");
        assert!(hello.starts_with("{\"server\" \"redis\" \"version\" \"7.4.0\" \"proto\" :3 \"id\" :"), "{hello}");
        assert_eq!(client.ask("GET nothing"), "nil");
        let list = client.ask("CLIENT LIST");
        assert!(list.contains("name=other") && list.contains("lib-name=test") && list.contains("resp=3"), "{list}");
        let info = client.ask("INFO");
        for part in ["redis_version:7.4.0", "loading:0", "role:master", "cluster_enabled:0", "arch_bits:64"] {
            assert!(info.contains(part), "{part}");
        }
        assert!(!client.ask("INFO replication").contains("redis_version"));
        // Without replies, but for the last.
        client.write(&super::client::commands(&["CLIENT REPLY OFF", "SET a 1", "NOSUCH", "CLIENT REPLY ON"]));
        assert_eq!(client.read(), "+OK");
        client.write(&super::client::commands(&["CLIENT REPLY SKIP", "INCR a", "GET a"]));
        assert_eq!(client.read(), "\"2\"");
        assert_eq!(client.ask("RESET"), "+RESET");
        assert_eq!(client.ask("CLIENT GETNAME"), "nil");
        let mut other = Client::connect(address);
        let id = other.ask("CLIENT ID");
        assert_eq!(client.ask(&format!("CLIENT KILL ID {}", &id[1..])), ":1");
        assert_eq!(other.next(), None);
        assert_eq!((client.ask("QUIT"), client.next()), ("+OK".into(), None));
    })
    .await;
}

/// Another database gets keys while database 0 is emptied, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_emptied_and_no_other() {
    Server::run(|address| {
        let is_over = Arc::new(AtomicBool::new(false));
        let flushing = {
            let (mut client, is_over) = (Client::connect(address), is_over.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("FLUSHDB"), "+OK");
                }
            })
        };
        let mut client = Client::connect(address);
        client.ask("SELECT 1");
        for number in 0..1_500 {
            assert_eq!(client.ask(&format!("SET k {number}")), "+OK");
            assert_eq!(client.ask("GETDEL k"), format!("\"{number}\""));
        }
        is_over.store(true, Ordering::Relaxed);
        flushing.join().expect("each was answered");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_within_bounds() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        told(
            &mut client,
            &[
                ("INCREX", "-ERR wrong number of arguments for 'increx' command"),
                ("INCREX n UBOUND 2 EX 100 ENX", "[:1 :1]"),
                ("TTL n", ":100"),
                ("INCREX n UBOUND 2 EX 5000 ENX", "[:2 :1]"),
                ("INCREX n UBOUND 2 EX 5000", "[:2 :0]"),
                ("TTL n", ":100"),
                ("INCREX n BYINT 7 UBOUND 5 SATURATE EX 200", "[:5 :3]"),
                ("TTL n", ":200"),
                ("INCREX n BYINT -1 PERSIST", "[:4 :-1]"),
                ("TTL n", ":-1"),
                ("INCREX n BYINT 9223372036854775807", "[:4 :0]"),
                (
                    "INCREX n BYINT 9223372036854775807 SATURATE",
                    "[:9223372036854775807 :9223372036854775803]",
                ),
                ("INCREX n SATURATE UBOUND -9223372036854775808", "-ERR applied increment would overflow"),
                ("INCREX n EXAT 1", "[:9223372036854775807 :0]"),
                ("INCREX n BYINT -7 EXAT 1", "[:9223372036854775800 :-7]"),
                ("EXISTS n", ":0"),
                ("INCREX n LBOUND 10", "[:0 :0]"),
                ("EXISTS n", ":0"),
                ("INCREX n BYFLOAT 0.1", "[\"0.1\" \"0.1\"]"),
                ("INCREX n UBOUND 0.5 BYFLOAT 0.2", "[\"0.3\" \"0.2\"]"),
                ("INCREX n BYFLOAT 1 UBOUND 0.5", "[\"0.3\" \"0\"]"),
                ("INCREX n BYFLOAT 1 UBOUND 0.5 LBOUND -inf SATURATE", "[\"0.5\" \"0.2\"]"),
                ("INCREX n", "-ERR value is not an integer or out of range"),
                ("INCREX n BYINT 1 BYFLOAT 1", "-ERR syntax error"),
                ("INCREX n EX 1 PERSIST", "-ERR syntax error"),
                ("INCREX n EX 1 EX 1", "-ERR syntax error"),
                ("INCREX n SATURATE SATURATE", "-ERR syntax error"),
                ("INCREX n PERSIST ENX", "-ERR syntax error"),
                ("INCREX n UBOUND", "-ERR syntax error"),
                ("INCREX n ENX", "-ERR ENX flag requires an expiration"),
                ("INCREX n EX 0", "-ERR invalid expire time in 'increx' command"),
                ("INCREX n BYINT x", "-ERR Increment is not an integer or out of range"),
                ("INCREX n LBOUND 1.5", "-ERR LBOUND is not an integer or out of range"),
                ("INCREX n BYFLOAT x", "-ERR Increment is not a valid float"),
                ("INCREX n BYFLOAT 1 UBOUND x", "-ERR UBOUND is not a valid float"),
                ("INCREX n BYFLOAT +inf", "-ERR BYFLOAT increment cannot be Infinity"),
                ("INCREX n LBOUND 2 UBOUND 1", "-ERR LBOUND can't be greater than UBOUND"),
                ("INCREX n BYFLOAT 1 LBOUND 1e1 UBOUND 9.5", "-ERR LBOUND can't be greater than UBOUND"),
                ("SET w word", "+OK"),
                ("INCREX w BYFLOAT 1", "-ERR value is not a valid float"),
                ("HSET h f 1", ":1"),
                ("INCREX h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
                ("EVAL return(redis.call('increx',KEYS[1],'byfloat','0.25')) 1 n", "[\"0.75\" \"0.25\"]"),
            ],
        );
        client.ask("HELLO 3");
        assert_eq!(client.ask("INCREX n BYFLOAT -1"), "[,-0.25 ,-1]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests() {
    Server::run(|address| {
        told(
            &mut Client::connect(address),
            &[
                ("DIGEST a", "nil"),
                // One that begins with zeros, known from Redis.
                (
                    "SET a v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd",
                    "+OK",
                ),
                ("DIGEST a", "\"00006c38adf31777\""),
                ("SET a 2 IFDEQ 00006c38adf31778", "nil"),
                ("SET a 2 IFDNE 00006C38ADF31777", "nil"),
                ("SET a 2 IFDEQ 00006C38ADF31777", "+OK"),
                ("SET a 3 IFDEQ 00006c38adf31777 GET", "\"2\""),
                ("GET a", "\"2\""),
                ("SET a 3 IFDEQ 6c38adf31777", "-ERR must be exactly 16 hexadecimal characters"),
                ("SET a 3 IFDEQ +0006c38adf31777", "-ERR must be exactly 16 hexadecimal characters"),
                ("SET a 3 IFDEQ 00006c38adf31777 NX", "-ERR syntax error"),
                ("SET b 1 IFDEQ 00006c38adf31777", "nil"),
                ("SET b 1 IFDNE 00006c38adf31777", "+OK"),
                ("DELEX b IFDEQ 00006c38adf31777", ":0"),
                ("DELEX b IFDNE 00006c38adf31777", ":1"),
                ("DELEX b IFDNE 00006c38adf31777", ":0"),
                ("HSET h f 1", ":1"),
                ("DIGEST h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
                (
                    "DELEX h IFDNE 00006c38adf31777",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_and_help() {
    let server = Server::start().await;
    let node = server.node.clone();
    let runtime = tokio::runtime::Handle::current();
    let configure = move |policy| {
        let change = ConfigChange { policy: Some(policy), ..ConfigChange::default() };
        let session = node.session(Principal::Program);
        runtime.block_on(session.write(WriteRequest::from(Command::Configure(change)))).unwrap();
    };
    server
        .run_and_stop(move |address| {
            let mut client = Client::connect(address);
            configure(Policy::Lru);
            let not_lfu = "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
            told(
                &mut client,
                &[
                    ("OBJECT FREQ a", "nil"),
                    ("OBJECT IDLETIME a", "nil"),
                    ("SET a 1", "+OK"),
                    ("OBJECT FREQ a", not_lfu),
                    ("OBJECT IDLETIME a", "-ERR idle time is not tracked: uses are kept in their order, without times"),
                ],
            );
            configure(Policy::Lfu);
            told(
                &mut client,
                &[
                    ("SET b 1", "+OK"),
                    ("OBJECT FREQ b", ":1"),
                    ("APPEND b 2", ":2"),
                    ("OBJECT FREQ b", ":2"),
                    ("OBJECT FREQ b", ":2"),
                    ("MULTI", "+OK"),
                    ("OBJECT FREQ b", "+QUEUED"),
                    ("EXEC", "[-ERR OBJECT FREQ is not answered in transactions and scripts]"),
                ],
            );
            for name in ["OBJECT", "client", "ACL", "MEMORY"] {
                let help = client.ask(&format!("{name} HELP"));
                assert!(help.starts_with(&format!("[+{} has these", name.to_uppercase())), "{help}");
                assert!(help.ends_with("+HELP +    This text.]"), "{help}");
            }
            let refused = client.ask("OBJECT HELP a");
            assert!(refused.starts_with("-ERR unknown subcommand 'HELP'"), "{refused}");
        })
        .await;
}
