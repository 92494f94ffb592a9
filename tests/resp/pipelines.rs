//! Many commands at once: each has one reply, in order, however the stream is cut.

use super::client::{Client, commands};
use super::server::Server;
use std::io::Write;

#[tokio::test(flavor = "multi_thread")]
async fn replies_come_in_order_and_reads_see_what_was_written_before() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        let mut lines = Vec::new();
        for number in 0..3_000 {
            lines.push(format!("SET k{} {number}", number % 7));
            lines.push(format!("GET k{}", number % 7));
            lines.push(format!("ECHO {number}"));
            lines.push("INCR count".to_owned());
        }
        let stream = commands(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut writer = client.stream();
        let writing = std::thread::spawn(move || writer.write_all(&stream).unwrap());
        for number in 0..3_000 {
            assert_eq!(client.read(), "+OK");
            assert_eq!(client.read(), format!("\"{number}\""));
            assert_eq!(client.read(), format!("\"{number}\""));
            assert_eq!(client.read(), format!(":{}", number + 1));
        }
        writing.join().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_can_be_cut_at_every_byte() {
    Server::run(|address| {
        let stream = commands(&[
            "SET a 1", "MULTI", "INCR a", "GET a", "EXEC", "NOSUCH x", "SET a", "GET a", "SELECT 1", "GET a",
            "SELECT 0", "DEL a",
        ]);
        let expected: Vec<String> = [
            "+OK",
            "+OK",
            "+QUEUED",
            "+QUEUED",
            "[:2 \"2\"]",
            "-ERR unknown command 'NOSUCH', with args beginning with: 'x'",
            "-ERR wrong number of arguments for 'set' command",
            "\"2\"",
            "+OK",
            "nil",
            "+OK",
            ":1",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut client = Client::connect(address);
        for cut in 1..stream.len() {
            client.write(&stream[..cut]);
            // What is whole is answered before the rest is sent.
            let mut told = Vec::new();
            if cut > 40 {
                told.push(client.read());
            }
            client.write(&stream[cut..]);
            while told.len() < expected.len() {
                told.push(client.read());
            }
            assert_eq!(told, expected, "{cut}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_does_not_touch_the_others() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        client.write(&commands(&[
            "SET s text",
            "INCR s",
            "SET n 1",
            "INCR n",
            "SET x 1 EX -1",
            "GET s",
            "GET x",
        ]));
        let told: Vec<String> = (0..7).map(|_| client.read()).collect();
        let expected = [
            "+OK",
            "-ERR value is not an integer or out of range",
            "+OK",
            ":2",
            "-ERR invalid expire time in 'set' command",
            "\"text\"",
            "nil",
        ];
        assert_eq!(told, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_commands_and_web_pages() {
    Server::run(|address| {
        let mut client = Client::connect(address);
        client.write(b"SET k \"a \\x41\"\r\nGET k\n\r\nPING\r\n");
        assert_eq!([client.read(), client.read(), client.read()], ["+OK", "\"a A\"", "+PONG"]);
        for request in
            ["POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n", "GET /v1/status HTTP/1.1\r\n\r\n"]
        {
            let mut client = Client::connect(address);
            client.write(request.as_bytes());
            assert_eq!(client.read(), "-ERR Protocol error: this port does not speak HTTP");
            assert_eq!(client.next(), None);
        }
        assert_eq!(Client::connect(address).ask("GET k"), "\"a A\"");
    })
    .await;
}
