//! Makes requests, with as little work as there can be: what they have in common is prepared, and only the
//! digits of the key are written anew.

use super::args::{BenchArgs, Work};
use super::keys::{COUNTERS, DIGITS, Keys, VALUES, value, write_number};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use std::collections::HashSet;
use std::ops::Range;

/// A request as it is sent.
pub type Sent = Request<Full<Bytes>>;

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
    host: HeaderValue,
    get: Template,
    put: Template,
    incr: Template,
    batch: Template,
    value: Bytes,
    /// Keys of the batch that is being made.
    taken: HashSet<u64>,
}

impl Requests {
    pub fn new(args: &BenchArgs, keys: Keys, host: HeaderValue) -> Self {
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
            host,
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
    pub fn next(&mut self) -> (Kind, Sent) {
        let is_read = match self.work {
            Work::Get => true,
            Work::Mixed => !self.keys.percent(self.write_percent),
            Work::Put | Work::Incr | Work::Batch => false,
        };
        if is_read {
            let key = self.keys.next();
            return (Kind::Read, self.request(Method::GET, self.get.with([key]), Bytes::new()));
        }
        let sent = match self.work {
            Work::Batch => {
                let keys = self.different_keys();
                let body = self.batch.with(keys);
                self.request(Method::POST, Bytes::from_static(b"/v1/batch"), body)
            }
            Work::Incr => {
                let key = self.keys.next();
                let path = self.incr.with([key]);
                self.request(Method::POST, path, Bytes::from_static(b"{\"by\":1}"))
            }
            Work::Put | Work::Mixed | Work::Get => {
                let key = self.keys.next();
                let path = self.put.with([key]);
                self.request(Method::PUT, path, self.value.clone())
            }
        };
        (Kind::Write, sent)
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

    fn request(&self, method: Method, path: Bytes, body: Bytes) -> Sent {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_maybe_shared(path).expect("letters, digits and dashes make a path");
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BatchRequest, OpRequest};
    use clap::Parser;
    use http_body_util::BodyExt;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn requests(arguments: &str) -> Requests {
        let line = format!("bench {arguments}");
        let args = Line::parse_from(line.split(' ')).bench;
        let keys = Keys::for_each(1, args.keys, args.distribution, args.seed).unwrap().remove(0);
        Requests::new(&args, keys, HeaderValue::from_static("h"))
    }

    async fn body(sent: Sent) -> Bytes {
        sent.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn each_work_asks_for_what_it_says() {
        let (kind, sent) = requests("put --keys 1 --ttl-ms 5 --value-bytes 9").next();
        assert_eq!((kind, sent.method(), sent.uri().to_string().as_str()), {
            (Kind::Write, &Method::PUT, "/v1/kv/bench-0000000000?ttl_ms=5")
        });
        assert_eq!(body(sent).await.len(), 9);
        let (kind, sent) = requests("get --keys 1 --consistency lease").next();
        assert_eq!((kind, sent.method(), sent.uri().to_string().as_str()), {
            (Kind::Read, &Method::GET, "/v1/kv/bench-0000000000?consistency=lease")
        });
        let (kind, sent) = requests("incr --keys 1").next();
        assert_eq!((kind, sent.method(), sent.uri().to_string().as_str()), {
            (Kind::Write, &Method::POST, "/v1/kv/bench-count-0000000000/incr")
        });
        assert_eq!(body(sent).await, "{\"by\":1}");
    }

    #[tokio::test]
    async fn a_batch_has_different_keys() {
        let mut requests = requests("batch --batch 20 --keys 20 --distribution zipf:3 --ttl-ms 7");
        assert_eq!(requests.operations(), 20);
        let (_, sent) = requests.next();
        let batch: BatchRequest = serde_json::from_slice(&body(sent).await).unwrap();
        let mut keys: Vec<String> = batch
            .ops
            .into_iter()
            .map(|op| match op {
                OpRequest::Put { key, value: Some(value), ttl_ms: Some(7), .. } if value.len() == 128 => key,
                other => panic!("{other:?}"),
            })
            .collect();
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
