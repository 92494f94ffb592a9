//! The same works over the Redis protocol.

use crate::support::{Cluster, run};
use crate::works::{SHORT, clean};
use crate::{bench, number};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn every_work_works_over_the_redis_protocol() {
    let (cluster, ports) = Cluster::with_redis().await;
    let servers = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let on = |work: &str| clean(&format!("{work} --redis {servers} {SHORT}"));
    let url = &cluster.nodes[0].http;
    let keys = |prefix: &str| {
        let (_, out, _) = run(&["keys", prefix, "--url", url, "--json"]);
        serde_json::from_str::<Value>(out.trim()).unwrap()["keys"].as_array().unwrap().clone()
    };

    let batch = on("batch --batch 20 --value-bytes 30");
    assert_eq!(number(&batch, "operations"), 20 * number(&batch, "requests"));
    let urls: Vec<String> = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    assert_eq!((&batch["urls"], &batch["pipeline"]), (&Value::from(urls), &Value::from(1)));

    let put = on("put --value-bytes 40 --ttl-ms 600000 --pipeline 8");
    assert_eq!(number(&put, "operations"), 8 * number(&put, "requests"));
    let whole =
        |key: &Value| key["bytes"] == 40 && key["ttl_ms"].as_u64().is_some_and(|left| left <= 600_000);
    assert!(keys("bench-").iter().any(whole), "{:?}", keys("bench-"));

    let get = on("get --value-bytes 50 --pipeline 16 --consistency lease");
    assert_eq!(number(&get, "misses"), 0, "all keys were stored before");
    assert_eq!(get["consistency"], "lease");
    let filled = keys("bench-");
    assert!(filled.len() == 40 && filled.iter().all(|key| key["bytes"] == 50), "{filled:?}");

    run(&["del", "bench-", "--prefix", "--url", url]);
    let none = on("get --no-fill --pipeline 4");
    assert_eq!(
        number(&none, "misses"),
        number(&none, "operations"),
        "and each miss of a pipeline counts: {none}"
    );

    let mixed = on("mixed --write-percent 50 --pipeline 2");
    assert!(["get", "put"].iter().all(|part| number(&mixed[part], "requests") > 0), "{mixed}");

    let incr = on("incr --pipeline 8");
    let get_counter = |key: &Value| {
        let (_, out, _) = run(&["get", key["key"].as_str().unwrap(), "--url", url]);
        out.parse::<u64>().unwrap()
    };
    let counted: u64 = keys("bench-count-").iter().map(get_counter).sum();
    assert!(counted >= number(&incr, "operations"), "each added one, and so did those before they counted");

    let (_, words, _) =
        run(&["bench", "put", "--redis", &servers, "--pipeline", "4", "--seconds", "0.2", "--warm-up", "0"]);
    assert!(words.contains("commands/s"), "{words}");
}

/// A server by hand: every third command of a pipeline is refused, the others find nothing.
#[test]
fn refused_commands_are_counted_by_their_codes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream);
                let mut line = String::new();
                for number in 1_u64.. {
                    // A command is five lines: how many words, and twice the length of a word, and the word.
                    for _ in 0..5 {
                        line.clear();
                        if lines.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let reply = if number % 3 == 0 { "-OOM no room\r\n" } else { "$-1\r\n" };
                    if (&stream).write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let arguments =
        format!("get --no-fill --redis 127.0.0.1:{port} --seconds 0.3 --warm-up 0 --connections 1");
    let (code, report, error) = bench(&format!("{arguments} --pipeline 3"));
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("every request failed"), "{error}");
    assert!(number(&report["errors_by_code"], "OOM") > 0, "{report}");

    let (code, report, _) = bench(&format!("{arguments} --pipeline 1"));
    assert_eq!(code, 0);
    let (refused, misses) = (number(&report["errors_by_code"], "OOM"), number(&report, "misses"));
    assert_eq!(misses, number(&report, "requests"), "{report}");
    assert!(misses.abs_diff(2 * refused) <= 3, "{report}");
}

/// What is no reply ends the connection, and is told.
#[test]
fn what_is_no_reply_is_a_broken_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"*1\r\n+OK\r\n");
        }
    });
    let arguments = format!("put --redis 127.0.0.1:{port} --seconds 0.3 --warm-up 0 --connections 1");
    let (code, report, error) = bench(&arguments);
    assert_eq!(code, 1);
    assert!(error.contains("no reply of the Redis protocol"), "{error}");
    assert!(number(&report["errors_by_code"], "transport") > 0, "{report}");
}

/// A server that wants a token answers nothing else, so there is nothing to measure.
#[test]
fn a_missing_token_ends_the_load_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut received = [0; 1_024];
                while (&stream).read(&mut received).is_ok_and(|count| count > 0) {
                    if (&stream).write_all(b"-NOAUTH Authentication required.\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    for rate in ["", " --rate 100"] {
        let arguments = format!("put --redis 127.0.0.1:{port} --seconds 600 --connections 2{rate}");
        let (code, _, error) = bench(&arguments);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("wants a token (NOAUTH): name its file with --token-file"), "{error}");
    }
}
