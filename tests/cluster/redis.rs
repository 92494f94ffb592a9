//! Redis clients of a cluster of real processes, with faults.

use super::support::{Cluster, Node, PROGRAM, free_port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A connection that tells replies as they came.
pub struct Redis(BufReader<TcpStream>);

impl Redis {
    pub fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    pub fn ask(&mut self, line: &str) -> Option<String> {
        self.send(&[line])?;
        self.next()
    }

    fn send(&mut self, lines: &[&str]) -> Option<()> {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.0.get_mut().write_all(text.as_bytes()).ok()
    }

    pub fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end().to_owned();
        match line.strip_prefix('$').map(str::parse::<usize>) {
            Some(Ok(length)) => {
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes).ok()?;
                Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
            }
            _ => Some(line),
        }
    }
}

pub fn is_none(reply: &str) -> bool {
    ["-UNAVAILABLE nothing was done", "-LOADING "].iter().any(|start| reply.starts_with(start))
}

/// What a client did: how many additions were answered, and of how many it does not know whether they were carried out.
#[derive(Debug, Default)]
struct Added {
    known: u64,
    unknown: u64,
    once: u64,
}

/// Who is connected, and what was asked, as an admin sees it over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn clients_and_their_commands_are_reported() {
    let (cluster, ports) = Cluster::with_redis().await;
    let port = ports[1];
    let mut redis = tokio::task::spawn_blocking(move || {
        let mut redis = Redis::connect(port).expect("it listens");
        for (line, told) in [
            ("CLIENT SETNAME shop", "+OK"),
            ("CLIENT SETINFO LIB-NAME own", "+OK"),
            ("SELECT 2", "+OK"),
            ("SET k word", "+OK"),
            ("INCR k", "-ERR value is not an integer or out of range"),
            ("MULTI", "+OK"),
            ("SET k 1", "+QUEUED"),
        ] {
            assert_eq!(redis.ask(line).as_deref(), Some(told), "{line}");
        }
        redis
    })
    .await
    .unwrap();
    let report = async || -> Value {
        let asked = cluster.http.get(format!("{}/v1/redis", cluster.nodes[1].http)).send().await.unwrap();
        asked.json().await.unwrap()
    };
    let metrics = format!("{}/metrics", cluster.nodes[1].http);
    let metrics = cluster.http.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nlockstep_redis_clients 1\n"), "{metrics}");
    let told = report().await;
    let client = &told["clients"][0];
    for (field, value) in [
        ("name", json!("shop")),
        ("library", json!("own")),
        ("database", json!(2)),
        ("protocol", json!(2)),
        ("command", json!("set")),
        ("queued", json!(1)),
    ] {
        assert_eq!(client[field], value, "{field} in {told}");
    }
    assert_eq!((&told["node"], &told["connected"]), (&json!("n2"), &json!(1)), "{told}");
    let command = |name: &str| {
        let commands = told["commands"].as_array().unwrap();
        commands.iter().find(|command| command["command"] == name).cloned().unwrap_or_default()
    };
    assert_eq!((&command("set")["replies"], &command("set")["errors"]), (&json!(2), &json!(0)), "{told}");
    assert_eq!((&command("incr")["replies"], &command("incr")["errors"]), (&json!(1), &json!(1)), "{told}");
    assert!(command("set")["p50_us"].as_u64().is_some_and(|us| us > 0), "{told}");

    assert_eq!(redis.ask("QUIT").as_deref(), Some("+OK"));
    let begun = Instant::now();
    while report().await["connected"] != 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(report().await["connected_total"], told["connected_total"]);
}

/// Adds to a counter of its own until it is told to stop, but often enough, wherever it gets through.
fn add(client: usize, ports: &[u16], stop: &AtomicBool) -> Added {
    const ENOUGH: u64 = 50;
    let mut added = Added::default();
    let mut at = client;
    let mut redis = None;
    let mut newest = Instant::now();
    while !stop.load(Relaxed) || added.known <= ENOUGH {
        assert!(
            newest.elapsed() < Duration::from_secs(30),
            "nothing is carried out any more: {}",
            added.known
        );
        let Some(connection) = &mut redis else {
            at += 1;
            redis = Redis::connect(ports[at % ports.len()]);
            continue;
        };
        // A pipeline: the second is carried out once, however often it is sent.
        let once = format!("LOCKSTEP.ONCE {client}-{} INCR once-{client}", added.once);
        let plain = format!("INCR plain-{client}");
        let told = connection.send(&[&plain, &once]).map(|()| [connection.next(), connection.next()]);
        let [first, second] = told.unwrap_or_default();
        match first.as_deref() {
            Some(reply) if reply.starts_with(':') => {
                added.known += 1;
                newest = Instant::now();
            }
            Some(reply) if is_none(reply) => {}
            Some(reply) => {
                assert!(reply.starts_with("-OUTCOMEUNKNOWN "), "{reply}");
                added.unknown += 1;
            }
            None => added.unknown += 1,
        }
        match second.as_deref() {
            Some(reply) if reply.starts_with(':') => {
                added.once += 1;
                assert_eq!(reply, format!(":{}", added.once), "each is carried out once, in order");
            }
            Some(reply) => assert!(is_none(reply) || reply.starts_with("-OUTCOMEUNKNOWN "), "{reply}"),
            None => redis = None,
        }
    }
    added
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_costs_no_answered_write() {
    let (mut cluster, ports) = Cluster::with_redis().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (ports, stop) = (ports.clone(), stop.clone());
            tokio::task::spawn_blocking(move || add(client, &ports, &stop))
        })
        .collect();
    for _ in 0..2 {
        let leader = cluster.leader().await;
        // Some writes are under way at any time.
        cluster.nodes[leader].kill();
        let others = cluster.leader().await;
        assert_ne!(others, leader);
        cluster.nodes[leader].start();
        cluster.all_ready().await;
    }
    stop.store(true, Relaxed);
    let mut found: BTreeMap<usize, Added> = BTreeMap::new();
    for (client, adding) in clients.into_iter().enumerate() {
        found.insert(client, adding.await.expect("no panic"));
    }
    tokio::task::spawn_blocking(move || {
        for (client, Added { known, unknown, once }) in found {
            for port in &ports {
                let mut redis = Redis::connect(*port).expect("it listens");
                let plain: u64 =
                    redis.ask(&format!("GET plain-{client}")).unwrap().parse().expect("a number");
                assert!((known..=known + unknown).contains(&plain), "{client}: {known} + {unknown}: {plain}");
                let number: u64 =
                    redis.ask(&format!("GET once-{client}")).unwrap().parse().expect("a number");
                assert!((once..=once + 1).contains(&number), "{client}: {once}: {number}");
            }
        }
    })
    .await
    .expect("no panic");
    cluster.digests_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_what_any_node_has_answered() {
    let (_cluster, ports) = Cluster::with_redis().await;
    tokio::task::spawn_blocking(move || {
        let mut clients: Vec<Redis> =
            ports.iter().map(|port| Redis::connect(*port).expect("it listens")).collect();
        for round in 0..300 {
            let (writer, reader) = (round % 3, (round / 3 + 1) % 3);
            assert_eq!(clients[writer].ask(&format!("SET k {round}")).as_deref(), Some("+OK"));
            assert_eq!(clients[reader].ask("GET k"), Some(round.to_string()));
        }
        assert_eq!(clients[0].ask("WAIT 1 100").as_deref(), Some(":1"));
        // A walk goes on at another node where it has stopped.
        for number in 0..500 {
            clients[0].ask(&format!("SET walk:{number} 1"));
        }
        let (mut cursor, mut seen, mut at) = ("0".to_owned(), 0, 0);
        loop {
            let redis = &mut clients[at % 3];
            assert_eq!(redis.ask(&format!("SCAN {cursor} MATCH walk:* COUNT 50")).as_deref(), Some("*2"));
            cursor = redis.next().expect("a cursor");
            let count: usize = redis.next().expect("keys")[1..].parse().expect("a number");
            (0..count).for_each(|_| assert!(redis.next().expect("a key").starts_with("walk:")));
            (seen, at) = (seen + count, at + 1);
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, 500, "each key once");
    })
    .await
    .expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_that_is_said_in_time_and_the_connection_stays() {
    let (cluster, ports) = Cluster::with_redis().await;
    let leader = cluster.leader().await;
    let others: Vec<&Node> =
        cluster.nodes.iter().filter(|node| node.name != cluster.nodes[leader].name).collect();
    let port = ports[leader];
    let mut redis = Redis::connect(port).expect("it listens");
    assert_eq!(redis.ask("SET k 1").as_deref(), Some("+OK"));
    others.iter().for_each(|node| node.signal(libc::SIGSTOP));
    let redis = tokio::task::spawn_blocking(move || {
        for line in ["SET k 2", "GET k", "EVAL \"return redis.call('INCR','k')\" 0"] {
            let begun = Instant::now();
            let told = redis.ask(line).expect("the connection stays");
            assert!(begun.elapsed() < Duration::from_millis(4_000), "{line}: {:?}", begun.elapsed());
            assert!(
                told.starts_with("-OUTCOMEUNKNOWN ") || told.starts_with("-UNAVAILABLE nothing was done"),
                "{line}: {told}"
            );
        }
        // A balancer that asks by this sends nobody here any more.
        let begun = Instant::now();
        while !redis.ask("PING").expect("the connection stays").starts_with("-UNAVAILABLE") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it still answers");
            std::thread::sleep(Duration::from_millis(50));
        }
        redis
    })
    .await
    .expect("no panic");
    others.iter().for_each(|node| node.signal(libc::SIGCONT));
    cluster.all_ready().await;
    tokio::task::spawn_blocking(move || {
        let mut redis = redis;
        let until = Instant::now() + Duration::from_secs(20);
        while redis.ask("INCR after").is_none_or(|told| !told.starts_with(':')) {
            assert!(Instant::now() < until, "it works again, on the same connection");
        }
    })
    .await
    .expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_little_memory() {
    const COUNT: usize = 5_000;
    raise_file_limit();
    let (cluster, ports) = Cluster::with_redis().await;
    let port = ports[0];
    let pid = cluster.nodes[0].pid();
    let before = resident(pid);
    let connections = tokio::task::spawn_blocking(move || {
        let mut connections = Vec::new();
        while connections.len() < COUNT {
            let mut redis = Redis::connect(port).expect("it listens");
            assert_eq!(redis.ask("SET k 1").as_deref(), Some("+OK"));
            connections.push(redis);
        }
        connections
    })
    .await
    .expect("no panic");
    let grown = resident(pid).saturating_sub(before);
    println!("{COUNT} idle connections take {} KB", grown / 1024);
    assert!(grown <= 40 * 1024 * 1024, "{grown}");
    drop(connections);
}

fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

fn raise_file_limit() {
    // SAFETY: both calls get a valid pointer to a value of this function.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_says_where_redis_clients_connect() {
    let cluster = Cluster::empty().await;
    let dir = cluster.dir.path().to_owned();
    let port = free_port();
    tokio::task::spawn_blocking(move || {
        let mut up = Command::new(PROGRAM)
            .args(["up", "--nodes", "1", "--port", &port.to_string(), "--data-dir"])
            .arg(dir.join("up"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // Open to its end: whoever writes to a pipe that nobody reads any more ends.
        let mut lines = BufReader::new(up.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| {
            let start = line.find("redis://127.0.0.1:")?;
            line[start..].split_whitespace().next().map(str::to_owned)
        });
        let url = url.expect("a line with the URL");
        let told: u16 = url.rsplit_once(':').expect("a port").1.parse().expect("a number");
        let pong = Redis::connect(told).and_then(|mut redis| redis.ask("PING"));
        // SAFETY: the process is our child and has not been waited for.
        unsafe { libc::kill(up.id() as i32, libc::SIGTERM) };
        up.wait().expect("it ends");
        drop(lines);
        assert_eq!(pong.as_deref(), Some("+PONG"));
    })
    .await
    .expect("no panic");
}

/// Scripts that decide by what they read what they write, from many clients of all nodes, on one key: each is carried out. Where commits take
/// longer than nodes wait for each other, one may be told that nothing was done, and asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_is_scripted_from_all_nodes() {
    const CLIENTS: usize = 64;
    const EACH: usize = 20;
    const REFUSED_MAX: usize = CLIENTS * EACH / 10;
    const SCRIPT: &str = "EVAL \"local n = tonumber(redis.call('GET', KEYS[1]) or '0') + 1 redis.call('SET', KEYS[1], n) return n\" 1 hot";
    let is_number = |reply: &String| reply.starts_with(':');
    let (cluster, ports) = Cluster::with_redis().await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let port = ports[client % ports.len()];
            tokio::task::spawn_blocking(move || {
                let mut redis = Redis::connect(port).expect("it listens");
                let mut told = Vec::new();
                while told.iter().filter(|(reply, _)| is_number(reply)).count() < EACH
                    && told.len() < 2 * EACH
                {
                    let begun = Instant::now();
                    told.push((redis.ask(SCRIPT).expect("a reply"), begun.elapsed()));
                }
                told
            })
        })
        .collect();
    let begun = Instant::now();
    let (mut told, mut slowest) = (Vec::new(), Duration::ZERO);
    for client in clients {
        for (reply, took) in client.await.expect("no panic") {
            slowest = slowest.max(took);
            told.push(reply);
        }
    }
    let (told, refused): (Vec<String>, Vec<String>) = told.into_iter().partition(is_number);
    println!(
        "{} scripts in {:?}, the slowest in {slowest:?}, {} refused",
        told.len(),
        begun.elapsed(),
        refused.len()
    );
    let nothing_was_done = |reply: &String| reply.starts_with("-UNAVAILABLE nothing was done");
    assert!(refused.iter().all(nothing_was_done) && refused.len() <= REFUSED_MAX, "{refused:?}");
    let mut numbers: Vec<usize> = told.iter().map(|reply| reply[1..].parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=CLIENTS * EACH).collect::<Vec<_>>(), "each was carried out once");
    cluster.digests_agree().await;
}

/// A client that is told that its node is about to stop goes on at another one, and nothing that it asks fails.
#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_a_node_before_it_stops() {
    const DONE: usize = 200;
    let (mut cluster, ports) = Cluster::with_redis().await;
    let leaving = ports[0];
    let (told, stops) = std::sync::mpsc::channel();
    let others = [ports[1], ports[2]];
    let client = tokio::task::spawn_blocking(move || {
        let mut redis = Redis::connect(leaving).expect("it listens");
        redis.send(&["HELLO 3", "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip"]).unwrap();
        while redis.next().expect("a reply") != "+OK" {}
        let (mut moved, mut count) = (None, 0);
        while count < DONE || moved.is_none() {
            count += 1;
            redis.send(&["INCR n"]).unwrap();
            let mut reply = redis.next().expect("a reply");
            if reply == ">4" {
                let push: Vec<String> = (0..4).map(|_| redis.next().expect("its part")).collect();
                assert_eq!(push[..3], ["MOVING", ":1", ":30"]);
                let port = push[3].strip_prefix("127.0.0.1:").expect("an address").parse().expect("a port");
                moved = Some(port);
                reply = redis.next().expect("a reply");
            }
            assert_eq!(reply, format!(":{count}"));
            if let Some(port) = moved.filter(|port| *port != leaving) {
                assert!(others.contains(&port), "{port}");
                redis = Redis::connect(port).expect("it listens");
                moved = Some(leaving);
            }
            if count == 10 {
                told.send(()).unwrap();
            }
        }
        count
    });
    tokio::task::spawn_blocking(move || stops.recv().unwrap()).await.unwrap();
    cluster.nodes[0].signal(libc::SIGTERM);
    let count = client.await.unwrap();
    assert!(count >= DONE);
    assert!(cluster.nodes[0].ended().await.success());
}
