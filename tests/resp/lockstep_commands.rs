//! The commands that no Redis has.

use super::client::Client;
use super::replies::told;
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_repeated_are_carried_out_once() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        told(
            &mut client,
            &[
                ("LOCKSTEP.ONCE id-1 INCR n", ":1"),
                ("LOCKSTEP.ONCE id-1 INCR n", ":1"),
                ("LOCKSTEP.ONCE id-2 INCR n", ":2"),
                ("LOCKSTEP.ONCE id-3 GET n", "-ERR only commands that write values can be carried out once"),
                ("LOCKSTEP.ONCE id-3 KEYS *", "-ERR only commands that write values can be carried out once"),
                ("LOCKSTEP.ONCE id-3 SET n", "-ERR wrong number of arguments for 'set' command"),
            ],
        );
        told(&mut other, &[("LOCKSTEP.ONCE id-2 INCR n", ":2"), ("GET n", "\"2\"")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_consistencies() {
    Server::run(|address| {
        let (mut client, mut other) = (Client::connect(address), Client::connect(address));
        told(
            &mut client,
            &[
                ("LOCKSTEP.REVISION a", "nil"),
                ("LOCKSTEP.CONSISTENCY", "\"linearizable\""),
                ("LOCKSTEP.CONSISTENCY eventual", "-ERR expected linearizable, lease or stale"),
                ("LOCKSTEP.CONSISTENCY stale", "+OK"),
                ("LOCKSTEP.CONSISTENCY", "\"stale\""),
            ],
        );
        other.ask("SET a 1");
        let number = |reply: String| reply[1..].parse::<u64>().unwrap();
        let index = number(other.ask("LOCKSTEP.INDEX"));
        assert!(index > 0);
        assert!(number(client.ask(&format!("LOCKSTEP.WAIT {index}"))) >= index);
        assert_eq!(client.ask("GET a"), "\"1\"");
        // What was read is seen as well: whoever goes on at another node can ask for it there.
        for reads in [
            &["GET a"][..],
            &["MULTI", "GET a", "EXEC"],
            &["MULTI", "KEYS *", "EXEC"],
            &["WATCH a"],
            &["SCAN 0"],
            &["KEYS *"],
            &["DBSIZE"],
            &["RANDOMKEY"],
            &["HSCAN h 0"],
            &["EVAL return(redis.call('GET','a')) 0"],
            &["EVAL return(redis.call('GET',KEYS[1])) 1 a"],
            &["EVAL return(redis.call('KEYS','*')) 0"],
        ] {
            let mut reader = Client::connect(address);
            assert_eq!(reader.ask("LOCKSTEP.INDEX"), ":0");
            reads.iter().for_each(|read| drop(reader.ask(read)));
            assert!(number(reader.ask("LOCKSTEP.INDEX")) >= index, "{reads:?}");
        }
        let first = number(client.ask("LOCKSTEP.REVISION a"));
        other.ask("SET a 1");
        client.ask("LOCKSTEP.CONSISTENCY linearizable");
        assert!(number(client.ask("LOCKSTEP.REVISION a")) > first);
    })
    .await;
}
