//! What clients cannot use up.

use super::client::{Client, command};
use super::server::Server;
use lockstep::cache::Quota;
use lockstep::front::{FrontLimits, RateMode, RateSettings};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_the_connection_stays() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        let too_large = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
        let large = vec![b'x'; 10_001];
        assert_eq!(client.ask_words(&[b"SET", b"a", &large]), too_large);
        assert_eq!(client.ask_words(&[b"SET", b"a", &large[1..]]), "+OK");
        // What grows in steps has the limit of the state machine.
        let most = lockstep::cache::limits::VALUE_BYTES_MAX;
        assert_eq!(client.ask(&format!("SETRANGE a {} y", most - 1)), format!(":{most}"));
        assert_eq!(client.ask("APPEND a y"), too_large);
        assert_eq!(client.ask(&format!("SETRANGE a {most} y")), too_large);
        assert_eq!(client.ask("SETRANGE a 536870911 y"), too_large);
        assert_eq!(client.ask("STRLEN a"), format!(":{most}"));
        // All in one step, or not at all.
        let value = vec![b'x'; 10_000];
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        let keys: Vec<String> = (0..300).map(|number| format!("many:{number}")).collect();
        keys.iter().for_each(|key| words.extend([key.as_bytes(), &value]));
        let told = client.ask_words(&words);
        assert!(told.starts_with("-ERR the command is too large to be carried out in one step"), "{told}");
        assert_eq!(client.ask("EXISTS many:0 many:299"), ":0");
        // What removes keys takes as many steps as it needs.
        let keys: Vec<String> = (0..40_000).map(|number| format!("many:{number}")).collect();
        for part in keys.chunks(1_000) {
            let mut words: Vec<&[u8]> = vec![b"MSET"];
            part.iter().for_each(|key| words.extend([key.as_bytes(), b"1"]));
            assert_eq!(client.ask_words(&words), "+OK");
        }
        let mut words: Vec<&[u8]> = vec![b"DEL"];
        words.extend(keys.iter().map(|key| key.as_bytes()));
        assert_eq!(client.ask_words(&words), ":40000");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask_words(&[b"SET", b"a", &large]), too_large);
        assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_have_a_limit() {
    let limits = FrontLimits { connections: 4, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |options| options).await;
    server
        .run_and_stop(|address| {
            let mut clients: Vec<Client> = Vec::new();
            while clients.len() < 4 {
                let mut client = Client::connect(address);
                // The one from before may still be on its way out.
                if client.ask("PING") == "+PONG" {
                    clients.push(client);
                }
            }
            let mut more = Client::connect(address);
            assert_eq!(more.read(), "-ERR max number of clients reached");
            assert_eq!(more.next(), None);
            assert_eq!(clients[0].ask("QUIT"), "+OK");
            let mut again = Client::connect(address);
            while again.ask("PING") != "+PONG" {
                again = Client::connect(address);
            }
        })
        .await;
}

/// Clients that send and never finish share a part of the memory, and the others get through.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_finish_leave_room_for_others() {
    let limits = FrontLimits { body_memory: 1_000_000, value_bytes: 1_000_000, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |options| options).await;
    server
        .run_and_stop(|address| {
            let begun = [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$400000\r\n".as_slice(), &[b'x'; 300_000]].concat();
            let mut stuck: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
            stuck.iter_mut().for_each(|client| client.write(&begun));
            let mut client = Client::connect(address);
            for _ in 0..20 {
                assert_eq!(client.ask_words(&[b"SET", b"b", &[b'y'; 20_000]]), "+OK");
            }
            drop(stuck);
            // What they held is free again.
            while client.ask_words(&[b"SET", b"b", &[b'y'; 800_000]]) != "+OK" {
                client = Client::connect(address);
            }
        })
        .await;
}

/// A pipeline of large reads is answered in parts, however slowly it is read.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_sent_in_parts() {
    let limits = FrontLimits { value_bytes: 1_000_000, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |options| options).await;
    server
        .run_and_stop(|address| {
            let mut client = Client::connect(address);
            assert_eq!(client.ask_words(&[b"SET", b"a", &[b'x'; 1_000_000]]), "+OK");
            let gets = command(&[b"GET", b"a"]).repeat(150);
            client.write(&gets);
            for _ in 0..150 {
                assert_eq!(client.read().len(), 1_000_002);
            }
            let many: Vec<&[u8]> =
                std::iter::once(b"MGET".as_slice()).chain([b"a".as_slice(); 100]).collect();
            assert_eq!(client.ask_words(&many), "-ERR the answer is too large: ask for fewer keys at a time");
            assert_eq!(client.ask("STRLEN a"), ":1000000");
        })
        .await;
}

/// The next command after `CLIENT REPLY SKIP` has no reply, whatever it is; the one after that has.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_left_out_is_one() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        let large = vec![b'x'; 20_000_000];
        client.write(&crate::client::command(&[b"CLIENT", b"REPLY", b"SKIP"]));
        client.write(&crate::client::command(&[b"SET", b"k", &large]));
        client.write(&crate::client::commands(&["ECHO one", "ECHO two"]));
        assert_eq!([client.read(), client.read()], ["\"one\"", "\"two\""]);
        // And whom a client would have leave has to be told.
        let told = client.ask("CLIENT KILL");
        assert_eq!(told, "-ERR wrong number of arguments for 'client|kill' command");
        assert_eq!(client.ask("PING"), "+PONG");
    })
    .await;
}

/// What an address may ask for is counted whatever becomes of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_counts_towards_the_rate_limit() {
    let quota = |count| Some(Quota { count, window_ms: 3_600_000 });
    let rates = RateSettings { mode: RateMode::Enforce, requests: quota(40), body_bytes: quota(10_000_000) };
    for refused in ["NOSUCH", "GET", "GET a", "EXEC"] {
        let limits = FrontLimits { rates, ..FrontLimits::default() };
        let server = Server::start_with(limits, None, |options| options).await;
        server
            .run_and_stop(move |address| {
                let mut client = Client::connect(address);
                let is_limited = |told: &str| told.starts_with("-UNAVAILABLE nothing was done: more than");
                let count = (0..100).take_while(|_| !is_limited(&client.ask(refused))).count();
                assert!(count <= 40, "{refused}: {count}");
                assert!(is_limited(&client.ask("PING")), "{refused}");
            })
            .await;
    }
    let limits = FrontLimits { rates, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |options| options).await;
    server
        .run_and_stop(move |address| {
            let mut client = Client::connect(address);
            assert_eq!(client.ask("MULTI"), "+OK");
            // The bytes of what is too large count, too.
            assert!(
                client.ask_words(&[b"SET", b"k", &[b'x'; 20_000_000]]).starts_with("-ERR string exceeds")
            );
            // A transaction that cannot be carried out is over.
            assert!(client.ask("EXEC").starts_with("-UNAVAILABLE "));
            assert!(client.ask("CLIENT INFO").starts_with("-UNAVAILABLE "));
        })
        .await;
}

/// Where clients do not read their answers, others are refused large ones before they have any effect, and small ones are not.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_refused_where_others_are_not_read() {
    const VALUE: usize = 1_000_000;
    let limits = FrontLimits { value_bytes: VALUE, answer_memory: 8_000_000, ..FrontLimits::default() };
    let server = Server::start_with(limits, None, |options| options).await;
    server
        .run_and_stop(|address| {
            let mut client = Client::connect(address);
            assert_eq!(client.ask_words(&[b"SET", b"large", &[b'x'; VALUE]]), "+OK");
            for part in 0..20 {
                let keys = (0..100).map(|number| format!(" key:{part}:{number} 1")).collect::<String>();
                assert_eq!(client.ask(&format!("MSET{keys}")), "+OK");
            }
            let mut stuck = Client::connect(address);
            stuck.write(&command(&[b"GET", b"large"]).repeat(50));
            let full = "-UNAVAILABLE nothing was done: clients of this node have not read their answers yet";
            // It has the first of them, and does not read the others.
            assert_eq!(stuck.read().len(), VALUE + 2);
            assert_eq!(client.ask("GET large"), full);
            let many = "EVAL return(string.rep('x',100000)) 0";
            for line in ["KEYS *", "SCAN 0 COUNT 10000", many, "COMMAND"] {
                assert_eq!(client.ask(line), full, "{line}");
            }
            let lines = ["MULTI", "SELECT 2", "KEYS *", "SET n 1", "EXEC"];
            let last = lines.map(|line| client.ask(line));
            assert_eq!(last[4], full);
            assert_eq!((client.ask("PING"), client.ask("EXISTS n large")), ("+PONG".into(), ":1".into()));
            assert_eq!(client.ask("MULTI"), "+OK");
            assert_eq!(client.ask("DISCARD"), "+OK");
            // What may have had an effect does not say that it had none.
            let wrote = client.ask("EVAL redis.call('set',KEYS[1],'1')return(string.rep('x',100000)) 1 n");
            assert!(wrote.starts_with("-OUTCOMEUNKNOWN it was carried out"), "{wrote}");
            assert_eq!(client.ask("GET n"), "\"1\"");
            assert_eq!(client.ask("EVAL return(redis.call('get',KEYS[1])) 1 n"), "\"1\"");
            drop(stuck);
            while client.ask("KEYS *").len() < 20_000 {}
            while client.ask(many).len() < 100_000 {}
        })
        .await;
}

/// What a transaction will answer waits with it.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_wait_in_a_transaction_have_a_bound() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("MULTI"), "+OK");
        let count = (0..1_000).take_while(|_| client.ask("COMMAND") == "+QUEUED").count();
        assert!((1..200).contains(&count), "{count}");
        assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
        // As a pipeline they are answered, however many.
        client.write(&command(&[b"COMMAND"]).repeat(1_000));
        let first = client.read();
        assert!(first.len() > 4_000, "{first}");
        for _ in 1..1_000 {
            assert_eq!(client.read(), first);
        }
    })
    .await;
}
