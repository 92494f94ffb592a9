//! How often a node asks for memory to answer one request, and that it is not more than it was.
//!
//! A node in this process, a client beside it that asks for none, and an allocator that counts. The figure is an
//! average over many requests, less what the node asks for in that time when nobody asks it anything, and the least
//! of several.

#[path = "../http/server.rs"]
#[allow(dead_code, reason = "the tests of HTTP use the rest")]
mod server;

mod client;
mod counting;

use client::Client;
use counting::Counting;
use server::{Limits, Server};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests before any are counted: connections, buffers and tables have their size then.
const WARM_UP: usize = 200;
/// Requests in a repetition. What happens once a second or at every hundredth request counts little in each.
const REQUESTS: usize = 200;
const REPETITIONS: usize = 4;
/// How long the node is watched while nothing is asked of it.
const IDLE: Duration = Duration::from_millis(500);

/// One kind of request and how many allocations it may take on average.
struct Case {
    name: &'static str,
    /// Sent one after the other.
    requests: Vec<Vec<u8>>,
    most: f64,
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The bounds are a little above what was measured with the versions in `Cargo.lock`, without optimisation.
fn cases() -> Vec<Case> {
    let value = "v".repeat(128);
    let put = || request("PUT", "/v1/kv/key", &value);
    let puts = (0..100).map(|i| format!(r#"{{"op":"put","key":"key-{i:04}","value":"{value}"}}"#));
    let batch = format!(r#"{{"ops":[{}]}}"#, puts.collect::<Vec<String>>().join(","));
    let case = |name, requests, most| Case { name, requests, most };
    vec![
        case("put", vec![put()], 110.0),
        case("get", vec![request("GET", "/v1/kv/key", "")], 45.0),
        case("get, stale", vec![request("GET", "/v1/kv/key?consistency=stale", "")], 35.0),
        case("get of what is not there", vec![request("GET", "/v1/kv/none", "")], 51.0),
        case("incr", vec![request("POST", "/v1/kv/counter/incr", r#"{"by":1}"#)], 114.0),
        case("delete, and put of a new key", vec![request("DELETE", "/v1/kv/key", ""), put()], 107.0),
        case("batch of 100 puts", vec![request("POST", "/v1/batch", &batch)], 860.0),
    ]
}

/// Allocations, and their bytes.
#[derive(Clone, Copy)]
struct Asked {
    times: f64,
    bytes: f64,
}

/// What the node asks for in a second when nobody asks it anything.
fn idle() -> Asked {
    let begun = counting::so_far();
    std::thread::sleep(IDLE);
    let ended = counting::so_far();
    let a_second = |ended, begun| (ended - begun) as f64 / IDLE.as_secs_f64();
    Asked { times: a_second(ended.0, begun.0), bytes: a_second(ended.1, begun.1) }
}

/// Sends so many requests; what each asks for.
fn average(client: &mut Client, requests: &[Vec<u8>], count: usize, idle: Asked) -> Asked {
    let (begin, begun) = (Instant::now(), counting::so_far());
    for request in requests.iter().cycle().take(count) {
        let status = client.ask(request);
        assert!(status < 300 || status == 404, "{status}");
    }
    let (took, ended) = (begin.elapsed().as_secs_f64(), counting::so_far());
    let each = |ended, begun, idle| ((ended - begun) as f64 - idle * took) / count as f64;
    Asked { times: each(ended.0, begun.0, idle.times), bytes: each(ended.1, begun.1, idle.bytes) }
}

#[test]
fn a_request_takes_a_bounded_number_of_allocations() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.block_on(Server::start_with(Limits::default(), |options| options));
    let mut client = Client::connect(&server.address);
    let idle = idle();
    println!("idle: {:.0} allocations a second ({:.0} bytes)", idle.times, idle.bytes);
    let mut too_many = Vec::new();
    for Case { name, requests, most } in cases() {
        average(&mut client, &requests, WARM_UP, idle);
        let averages = (0..REPETITIONS).map(|_| average(&mut client, &requests, REQUESTS, idle));
        let Asked { times, bytes } = averages.min_by(|a, b| a.times.total_cmp(&b.times)).expect("several");
        println!("{name}: {times:.1} allocations ({bytes:.0} bytes), at most {most}");
        if times > most {
            too_many.push(format!("{name}: {times:.1} allocations, at most {most}"));
        }
    }
    runtime.block_on(server.stop());
    assert!(
        too_many.is_empty(),
        "\n{}\nLook for what the change copies, boxes or formats for every request. If it is worth that, say so in \
         the commit and raise the bound in tests/allocations/main.rs.",
        too_many.join("\n")
    );
}
