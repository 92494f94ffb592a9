//! The Sentinel port.

use super::client::Client;
use super::replies::told;
use super::server::Server;
use lockstep::front::FrontLimits;
use lockstep::node::{NewToken, Principal, RootToken};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_names_itself_while_it_is_ready() {
    let server = Server::start().await;
    let (node, port) = (server.node.clone(), server.sentinel);
    server
        .run_and_stop(move |address| {
            let mut client = Client::connect(port);
            let own = format!("[\"127.0.0.1\" \"{}\"]", address.port());
            told(
                &mut client,
                &[
                    ("PING", "+PONG"),
                    ("SENTINEL get-master-addr-by-name mymaster", &own),
                    ("sentinel GET-MASTER-ADDR-BY-NAME anything", &own),
                    ("SENTINEL sentinels mymaster", "[]"),
                    ("SENTINEL replicas mymaster", "[]"),
                    ("SENTINEL slaves mymaster", "[]"),
                    ("ROLE", "[\"sentinel\" [\"mymaster\"]]"),
                    ("CLIENT SETNAME app-sentinel", "+OK"),
                    (
                        "SENTINEL failover mymaster",
                        "-ERR Unknown sentinel subcommand or wrong number of arguments for 'failover'",
                    ),
                    (
                        "SENTINEL masters more",
                        "-ERR Unknown sentinel subcommand or wrong number of arguments for 'masters'",
                    ),
                    ("SENTINEL", "-ERR wrong number of arguments for 'sentinel' command"),
                ],
            );
            let masters = client.ask("SENTINEL MASTERS");
            for part in [
                "\"name\" \"mymaster\"",
                "\"flags\" \"master\"",
                "\"num-other-sentinels\" \"0\"",
                &format!("\"port\" \"{}\"", address.port()),
            ] {
                assert!(masters.contains(part), "{part} in {masters}");
            }
            assert!(client.ask("SENTINEL MASTER shop").contains("\"name\" \"shop\""));
            assert!(client.ask("INFO").contains("redis_mode:sentinel"));
            assert!(client.ask("HELLO 3").contains("sentinel"));
            // It is no way to the data, or to what others do.
            for refused in [
                "GET a",
                "SET a 1",
                "KEYS *",
                "CLIENT LIST",
                "CLIENT KILL ID 1",
                "EVAL return(1) 0",
                "MULTI",
                "FLUSHALL",
                "CONFIG GET *",
                "SELECT 1",
                "LOCKSTEP.INDEX",
            ] {
                assert!(client.ask(refused).starts_with("-ERR unknown command"), "{refused}");
            }
            assert!(client.ask("SUBSCRIBE +switch-master").contains("+switch-master"));
            // And at the other port there is no such command.
            assert!(Client::connect(address).ask("SENTINEL masters").starts_with("-ERR unknown command"));

            // A node that is about to stop is no master.
            let stopping = tokio::runtime::Runtime::new().unwrap();
            stopping.block_on(node.stop());
            let mut client = Client::connect(port);
            told(
                &mut client,
                &[
                    ("SENTINEL get-master-addr-by-name mymaster", "nil"),
                    ("SENTINEL masters", "[]"),
                    ("SENTINEL master mymaster", "-ERR No such master with that name"),
                    ("SENTINEL ckquorum mymaster", "-NOQUORUM this node is not ready"),
                ],
            );
            assert!(client.ask("INFO").contains("sentinel_masters:0"));
        })
        .await;
}

/// Where tokens are needed, none is for asking where to go.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_port_needs_no_token() {
    let given = Principal::of_token(NewToken::random().unwrap().text()).unwrap();
    let server = Server::start_with(FrontLimits::default(), None, |mut options| {
        options.require_tokens = Some(RootToken::Given(given));
        options
    })
    .await;
    let port = server.sentinel;
    server
        .run_and_stop(move |address| {
            assert!(Client::connect(address).ask("GET a").starts_with("-NOAUTH"));
            let mut client = Client::connect(port);
            assert!(client.ask("SENTINEL get-master-addr-by-name mymaster").contains("127.0.0.1"));
            assert!(client.ask("INFO").contains("sentinel_masters:1"));
            assert!(client.ask("GET a").starts_with("-ERR unknown command"));
        })
        .await;
}
