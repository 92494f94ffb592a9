//! Clients are told when a node is about to stop.

use super::client::Client;
use super::server::Server;
use lockstep::api::RedisAddresses;
use std::time::{Duration, Instant};

fn other(port: u16) -> RedisAddresses {
    RedisAddresses { plain: Some(format!("127.0.0.1:{port}")), tls: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_where_to_go_on() {
    let server = Server::start().await;
    let address = server.address;
    assert!(!server.resp.has_clients_to_move());
    let asked = tokio::task::spawn_blocking(move || {
        let mut clients = [(); 4].map(|()| Client::connect(address));
        let refused = clients[0].ask("CLIENT MAINT_NOTIFICATIONS ON");
        assert_eq!(refused, "-ERR maintenance notifications need RESP3: send HELLO 3 first");
        for client in &mut clients {
            client.ask("HELLO 3");
        }
        for refused in ["ON x", "ON moving-endpoint-type", "ON moving-endpoint-type home", "ON a b c"] {
            assert_eq!(clients[0].ask(&format!("CLIENT MAINT_NOTIFICATIONS {refused}")), "-ERR syntax error");
        }
        assert_eq!(clients[0].ask("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-ip"), "+OK");
        assert_eq!(clients[1].ask("client maint_notifications on moving-endpoint-type NONE"), "+OK");
        assert_eq!(clients[2].ask("CLIENT MAINT_NOTIFICATIONS ON"), "+OK");
        assert_eq!(clients[2].ask("CLIENT MAINT_NOTIFICATIONS OFF"), "+OK");
        clients
    });
    let clients = asked.await.unwrap();
    assert!(server.resp.has_clients_to_move());
    let leaving = tokio::task::spawn_blocking(move || {
        let [mut one, mut known, mut off, mut silent] = clients;
        let told = one.read();
        assert!(
            [7001, 7002].iter().any(|port| told == format!(">\"MOVING\" :1 :30 \"127.0.0.1:{port}\"]")),
            "{told}"
        );
        assert_eq!(known.read(), ">\"MOVING\" :1 :4 nil]");
        // It goes on as before until they have left, and balancers send it nobody.
        assert_eq!((one.ask("SET a 1"), known.ask("GET a")), ("+OK".into(), "\"1\"".into()));
        assert_eq!(one.ask("PING"), "+PONG");
        for client in [&mut off, &mut silent] {
            assert!(client.ask("PING").starts_with("-UNAVAILABLE nothing was done"));
            assert_eq!(client.ask("GET a"), "\"1\"");
        }
        // Whoever asks now is told at once.
        assert_eq!(off.ask("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none"), "+OK");
        assert_eq!(off.read(), ">\"MOVING\" :1 :4 nil]");
        silent
    });
    let began = Instant::now();
    server.resp.move_clients(vec![other(7_001), other(7_002)]).await;
    assert!(began.elapsed() < Duration::from_secs(4), "all that were told have left");
    let mut silent = leaving.await.unwrap();
    server.run_and_stop(move |_| assert_eq!(silent.next(), None)).await;
}

/// One that wants to be told.
async fn client_that_asks(server: &Server) -> Client {
    let address = server.address;
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        client.ask("HELLO 3");
        client.ask("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip");
        client
    });
    asked.await.expect("it asks")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_holds_nobody_up() {
    let server = Server::start().await;
    let mut client = client_that_asks(&server).await;
    let began = Instant::now();
    server.resp.move_clients(vec![other(7_001)]).await;
    assert!((3..20).contains(&began.elapsed().as_secs()));
    let replies = tokio::task::spawn_blocking(move || (client.read(), client.ask("ECHO a"))).await.unwrap();
    assert!(replies.0.starts_with(">\"MOVING\" "));
    assert_eq!(replies.1, "\"a\"");
    server.run_and_stop(|_| ()).await;
}

/// Without another node that it can reach, there is nothing to tell it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_another_node_is_not_waited_for() {
    let server = Server::start().await;
    let mut client = client_that_asks(&server).await;
    let began = Instant::now();
    let only_tls = RedisAddresses { plain: None, tls: Some("127.0.0.1:7001".into()) };
    server.resp.move_clients(vec![only_tls]).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let reply = tokio::task::spawn_blocking(move || client.ask("ECHO a")).await.unwrap();
    assert_eq!(reply, "\"a\"");
    server.run_and_stop(|_| ()).await;
}
