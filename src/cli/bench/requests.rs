//! Makes requests, with as little work as there can be: what they have in common is prepared, and only the
//! digits of the key are written anew.

use super::args::{BenchArgs, Work};
use super::keys::{COUNTERS, DIGITS, Keys, VALUES, value, write_number};
use bytes::Bytes;
use hyper::Method;
use std::collections::HashSet;
use std::ops::Range;

/// A request.
pub struct Request {
    pub method: Method,
    pub path: Bytes,
    pub body: Bytes,
}

/// What a request does, for telling latencies apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// Text with places for the digits of keys.
#[derive(Clone, Default)]
struct Template {
    text: Vec<u8>,
    digits: Vec<Range<usize>>,
}

impl Template {
    fn text(mut self, text: &str) -> Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    fn digits(mut self) -> Self {
        let start = self.text.len();
        self.text.resize(start + DIGITS, b'0');
        self.digits.push(start..self.text.len());
        self
    }

    /// The text for these keys, one for each place.
    fn with(&self, numbers: impl IntoIterator<Item = u64>) -> Bytes {
        let mut text = self.text.clone();
        for (place, number) in self.digits.iter().zip(numbers) {
            write_number(&mut text[place.clone()], number);
        }
        text.into()
    }
}

/// Requests of one connection to one server.
pub struct Requests {
    work: Work,
    keys: Keys,
    write_percent: u8,
    get: Template,
    put: Template,
    incr: Template,
    batch: Template,
    value: Bytes,
    /// Keys of the batch that is being made.
    taken: HashSet<u64>,
}

impl Requests {
    pub fn new(args: &BenchArgs, keys: Keys) -> Self {
        let value = value(args.value_bytes, args.seed);
        let path = |prefix: &str| Template::default().text("/v1/kv/").text(prefix).digits();
        let ttl_query = args.ttl_ms.map(|ttl_ms| format!("?ttl_ms={ttl_ms}")).unwrap_or_default();
        let ttl_field = args.ttl_ms.map(|ttl_ms| format!(",\"ttl_ms\":{ttl_ms}")).unwrap_or_default();
        let mut batch = Template::default();
        if args.work == Work::Batch {
            batch = batch.text("{\"ops\":[");
            for number in 0..args.batch() {
                let comma = if number == 0 { "" } else { "," };
                batch = batch.text(&format!("{comma}{{\"op\":\"put\",\"key\":\"{VALUES}")).digits();
                batch = batch.text(&format!("\",\"value\":\"{value}\"{ttl_field}}}"));
            }
            batch = batch.text("]}");
        }
        Self {
            work: args.work,
            keys,
            write_percent: args.write_percent(),
            get: path(VALUES).text(&format!("?consistency={}", args.consistency().as_str())),
            put: path(VALUES).text(&ttl_query),
            incr: path(COUNTERS).text("/incr"),
            batch,
            value: value.into(),
            taken: HashSet::new(),
        }
    }

    /// Operations in each request.
    pub fn operations(&self) -> u64 {
        if self.work == Work::Batch { self.batch.digits.len() as u64 } else { 1 }
    }

    /// The next one.
    pub fn next(&mut self) -> (Kind, Request) {
        let is_read = match self.work {
            Work::Get => true,
            Work::Mixed => !self.keys.percent(self.write_percent),
            Work::Put | Work::Incr | Work::Batch => false,
        };
        if is_read {
            let path = self.get.with([self.keys.next()]);
            return (Kind::Read, Request { method: Method::GET, path, body: Bytes::new() });
        }
        let request = match self.work {
            Work::Batch => {
                let (path, keys) = (Bytes::from_static(b"/v1/batch"), self.different_keys());
                Request { method: Method::POST, path, body: self.batch.with(keys) }
            }
            Work::Incr => {
                let (path, body) = (self.incr.with([self.keys.next()]), Bytes::from_static(b"{\"by\":1}"));
                Request { method: Method::POST, path, body }
            }
            Work::Put | Work::Mixed | Work::Get => {
                let path = self.put.with([self.keys.next()]);
                Request { method: Method::PUT, path, body: self.value.clone() }
            }
        };
        (Kind::Write, request)
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
        (0..self.batch.digits.len()).map(different).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BatchRequest, OpRequest};
    use clap::Parser;

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
            assert_eq!((of_kind, &request.method, &request.path[..]), (kind, &method, path.as_bytes()));
            assert_eq!(request.body.len(), body_bytes, "{arguments}");
        }
    }

    #[test]
    fn a_batch_has_different_keys() {
        let mut requests = requests("batch --batch 20 --keys 20 --distribution zipf:3 --ttl-ms 7");
        assert_eq!(requests.operations(), 20);
        let (_, request) = requests.next();
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
