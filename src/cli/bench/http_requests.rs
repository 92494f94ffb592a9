//! Requests of HTTP.

use super::args::{BenchArgs, Work};
use super::keys::{COUNTERS, VALUES};
use super::template::Template;
use bytes::Bytes;
use hyper::Method;

/// A request.
pub struct HttpRequest {
    pub method: Method,
    pub path: Bytes,
    pub body: Bytes,
}

/// What requests are made from.
pub struct HttpRequests {
    get: Template,
    put: Template,
    incr: Template,
    batch: Template,
    value: Bytes,
}

impl HttpRequests {
    pub fn new(args: &BenchArgs, value: String) -> Self {
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
            get: path(VALUES).text(&format!("?consistency={}", args.consistency().as_str())),
            put: path(VALUES).text(&ttl_query),
            incr: path(COUNTERS).text("/incr"),
            batch,
            value: value.into(),
        }
    }

    pub fn get(&self, key: u64) -> HttpRequest {
        HttpRequest { method: Method::GET, path: self.get.with([key]), body: Bytes::new() }
    }

    pub fn put(&self, key: u64) -> HttpRequest {
        HttpRequest { method: Method::PUT, path: self.put.with([key]), body: self.value.clone() }
    }

    pub fn incr(&self, key: u64) -> HttpRequest {
        let body = Bytes::from_static(b"{\"by\":1}");
        HttpRequest { method: Method::POST, path: self.incr.with([key]), body }
    }

    pub fn batch(&self, keys: Vec<u64>) -> HttpRequest {
        let path = Bytes::from_static(b"/v1/batch");
        HttpRequest { method: Method::POST, path, body: self.batch.with(keys) }
    }
}
