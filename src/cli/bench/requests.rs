//! Makes requests, with as little work as there can be: what they have in common is prepared, and only the
//! digits of the key are written anew.

use super::args::{BenchArgs, Work};
use super::http_requests::HttpRequests;
use super::keys::{Keys, value};
use super::redis_requests::RedisRequests;
use std::collections::HashSet;

pub use super::http_requests::HttpRequest;
pub use super::redis_requests::RedisRequest;

/// A request, in the protocol of the servers.
pub enum Request {
    Http(HttpRequest),
    Redis(RedisRequest),
}

/// What a request does, for telling latencies apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

enum Forms {
    Http(HttpRequests),
    Redis(RedisRequests),
}

/// Requests of one connection to one server.
pub struct Requests {
    work: Work,
    keys: Keys,
    write_percent: u8,
    /// Puts in a batch, commands in a pipeline.
    batch: u32,
    pipeline: u32,
    forms: Forms,
    /// Keys of the batch that is being made.
    taken: HashSet<u64>,
}

impl Requests {
    pub fn new(args: &BenchArgs, keys: Keys) -> Self {
        let value = value(args.value_bytes, args.seed);
        let forms = match args.redis.is_empty() {
            true => Forms::Http(HttpRequests::new(args, value)),
            false => Forms::Redis(RedisRequests::new(args, &value)),
        };
        let (batch, pipeline) = (args.batch(), args.pipeline());
        let write_percent = args.write_percent();
        Self { work: args.work, keys, write_percent, batch, pipeline, forms, taken: HashSet::new() }
    }

    /// Operations in each request.
    pub fn operations(&self) -> u64 {
        u64::from(if self.work == Work::Batch { self.batch } else { self.pipeline })
    }

    /// The next one.
    pub fn next(&mut self) -> (Kind, Request) {
        let is_read = match self.work {
            Work::Get => true,
            Work::Mixed => !self.keys.percent(self.write_percent),
            Work::Put | Work::Incr | Work::Batch => false,
        };
        let keys = match self.work {
            Work::Batch => self.different_keys(),
            _ => (0..self.pipeline).map(|_| self.keys.next()).collect(),
        };
        let request = match (&self.forms, self.work) {
            (Forms::Http(http), work) => Request::Http(match (work, is_read) {
                (Work::Batch, _) => http.batch(keys),
                (Work::Incr, _) => http.incr(keys[0]),
                (_, true) => http.get(keys[0]),
                (_, false) => http.put(keys[0]),
            }),
            (Forms::Redis(redis), work) => Request::Redis(match (work, is_read) {
                (Work::Batch, _) => redis.batch(keys),
                (Work::Incr, _) => redis.incr(keys),
                (_, true) => redis.get(keys),
                (_, false) => redis.put(keys),
            }),
        };
        (if is_read { Kind::Read } else { Kind::Write }, request)
    }

    /// Keys for one batch, which may write none of them twice: instead of one that it has already, the next.
    fn different_keys(&mut self) -> Vec<u64> {
        self.taken.clear();
        let different = |_| {
            let mut key = self.keys.next();
            while !self.taken.insert(key) {
                key = (key + 1) % self.keys.count();
            }
            key
        };
        (0..self.batch).map(different).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BatchRequest, OpRequest};
    use clap::Parser;
    use hyper::Method;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn requests(arguments: &str) -> Requests {
        let line = format!("bench {arguments}");
        let args = Line::parse_from(line.split(' ')).bench;
        let keys = Keys::for_each(1, args.keys, args.distribution, args.seed).unwrap().remove(0);
        Requests::new(&args, keys)
    }

    #[test]
    fn each_work_asks_for_what_it_says() {
        for (arguments, kind, method, path, body_bytes) in [
            (
                "put --keys 1 --ttl-ms 5 --value-bytes 9",
                Kind::Write,
                Method::PUT,
                "/v1/kv/bench-0000000000?ttl_ms=5",
                9,
            ),
            (
                "get --keys 1 --consistency lease",
                Kind::Read,
                Method::GET,
                "/v1/kv/bench-0000000000?consistency=lease",
                0,
            ),
            ("incr --keys 1", Kind::Write, Method::POST, "/v1/kv/bench-count-0000000000/incr", 8),
        ] {
            let (of_kind, request) = requests(arguments).next();
            let Request::Http(request) = request else { panic!("{arguments}") };
            assert_eq!((of_kind, &request.method, &request.path[..]), (kind, &method, path.as_bytes()));
            assert_eq!(request.body.len(), body_bytes, "{arguments}");
        }
    }

    #[test]
    fn commands_of_the_redis_protocol_are_sent_in_pipelines() {
        let get = "*2\r\n$3\r\nGET\r\n$16\r\nbench-0000000000\r\n";
        let set = "*5\r\n$3\r\nSET\r\n$16\r\nbench-0000000000\r\n$0\r\n\r\n$2\r\nPX\r\n$1\r\n5\r\n";
        let incr = "*2\r\n$4\r\nINCR\r\n$22\r\nbench-count-0000000000\r\n";
        let mset = "*3\r\n$4\r\nMSET\r\n$16\r\nbench-0000000000\r\n$0\r\n\r\n";
        for (arguments, kind, command, replies) in [
            ("get --pipeline 3", Kind::Read, get, 3),
            ("put --ttl-ms 5", Kind::Write, set, 1),
            ("incr --pipeline 2", Kind::Write, incr, 2),
            ("batch --batch 1", Kind::Write, mset, 1),
        ] {
            let line = format!("{arguments} --keys 1 --value-bytes 0 --redis 127.0.0.1:1");
            let (of_kind, Request::Redis(request)) = requests(&line).next() else { panic!("{arguments}") };
            assert_eq!((of_kind, request.replies), (kind, replies), "{arguments}");
            assert_eq!(request.commands, command.repeat(replies as usize), "{arguments}");
        }
    }

    #[test]
    fn a_batch_has_different_keys() {
        let mut requests = requests("batch --batch 20 --keys 20 --distribution zipf:3 --ttl-ms 7");
        assert_eq!(requests.operations(), 20);
        let (_, Request::Http(request)) = requests.next() else { panic!("a request of HTTP") };
        let batch: BatchRequest = serde_json::from_slice(&request.body).unwrap();
        let key = |op| match op {
            OpRequest::Put { key, value: Some(value), ttl_ms: Some(7), .. } if value.len() == 128 => key,
            other => panic!("{other:?}"),
        };
        let mut keys: Vec<String> = batch.ops.into_iter().map(key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!((keys.len(), keys[19].as_str()), (20, "bench-0000000019"));
    }

    #[test]
    fn mixed_requests_are_mixed_as_asked() {
        let mut requests = requests("mixed --write-percent 25");
        let writes = (0..4_000).filter(|_| requests.next().0 == Kind::Write).count();
        assert!((850..1_150).contains(&writes), "{writes} of 4,000");
    }
}
