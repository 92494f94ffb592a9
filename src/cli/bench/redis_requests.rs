//! Commands of the Redis protocol.

use super::args::{BenchArgs, Work};
use super::keys::{COUNTERS, DIGITS, VALUES};
use super::template::Template;
use crate::api::Consistency;
use bytes::Bytes;

/// Commands that are sent at once.
#[derive(Debug, Clone)]
pub struct RedisRequest {
    pub commands: Bytes,
    /// Replies to them.
    pub replies: u32,
}

/// What commands are made from: each template has the commands of a pipeline.
pub struct RedisRequests {
    get: Template,
    put: Template,
    incr: Template,
    batch: Template,
    pipeline: u32,
}

impl RedisRequests {
    pub fn new(args: &BenchArgs, value: &str) -> Self {
        let pipeline = args.pipeline();
        let piped = |command: &dyn Fn(Template) -> Template| {
            (0..pipeline).fold(Template::default(), |template, _| command(template))
        };
        let ttl = args.ttl_ms.map(|ttl_ms| ttl_ms.to_string());
        let put = |template| match &ttl {
            None => word(key(word(words(template, 3), "SET"), VALUES), value),
            Some(ttl) => {
                let template = word(key(word(words(template, 5), "SET"), VALUES), value);
                word(word(template, "PX"), ttl)
            }
        };
        let mut batch = Template::default();
        if args.work == Work::Batch {
            batch = word(words(batch, 1 + 2 * args.batch()), "MSET");
            for _ in 0..args.batch() {
                batch = word(key(batch, VALUES), value);
            }
        }
        Self {
            get: piped(&|template| key(word(words(template, 2), "GET"), VALUES)),
            put: piped(&put),
            incr: piped(&|template| key(word(words(template, 2), "INCR"), COUNTERS)),
            batch,
            pipeline,
        }
    }

    pub fn get(&self, keys: Vec<u64>) -> RedisRequest {
        self.of(&self.get, keys)
    }

    pub fn put(&self, keys: Vec<u64>) -> RedisRequest {
        self.of(&self.put, keys)
    }

    pub fn incr(&self, keys: Vec<u64>) -> RedisRequest {
        self.of(&self.incr, keys)
    }

    pub fn batch(&self, keys: Vec<u64>) -> RedisRequest {
        RedisRequest { commands: self.batch.with(keys), replies: 1 }
    }

    fn of(&self, template: &Template, keys: Vec<u64>) -> RedisRequest {
        RedisRequest { commands: template.with(keys), replies: self.pipeline }
    }
}

/// What a connection begins with; `None` for nothing.
pub fn greeting(token: Option<&str>, consistency: Option<Consistency>) -> Option<RedisRequest> {
    let (mut commands, mut replies) = (Template::default(), 0);
    if let Some(token) = token {
        commands = word(word(words(commands, 2), "AUTH"), token);
        replies += 1;
    }
    if let Some(consistency) = consistency {
        commands = word(word(words(commands, 2), "LOCKSTEP.CONSISTENCY"), consistency.as_str());
        replies += 1;
    }
    (replies > 0).then(|| RedisRequest { commands: commands.with([]), replies })
}

/// `SET` for each of these keys.
pub fn fill(keys: impl Iterator<Item = u64>, value: &str) -> RedisRequest {
    let (mut commands, mut numbers) = (Template::default(), Vec::new());
    for number in keys {
        commands = word(key(word(words(commands, 3), "SET"), VALUES), value);
        numbers.push(number);
    }
    RedisRequest {
        replies: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
        commands: commands.with(numbers),
    }
}

/// The beginning of a command with so many words.
fn words(template: Template, count: u32) -> Template {
    template.text(&format!("*{count}\r\n"))
}

fn word(template: Template, word: &str) -> Template {
    template.text(&format!("${}\r\n{word}\r\n", word.len()))
}

fn key(template: Template, prefix: &str) -> Template {
    template.text(&format!("${}\r\n{prefix}", prefix.len() + DIGITS)).digits().text("\r\n")
}
