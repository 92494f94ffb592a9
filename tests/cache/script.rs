//! The language of the transcripts: one line is one thing done to a cache, and prints all that can be seen.

use crate::script_errors::{show_absence, show_position};
use crate::script_values::{show_deadline, show_value};
use bytes::Bytes;
use lockstep::cache::{
    Applied, Cache, CacheConfig, Cause, Command, Condition, ConfigChange, DeadlineCondition, Event, Found,
    Guard, IdempotencyKey, Key, KeyState, Kind, Op, OpRefusal, Outcome, Policy, Scope, Stamp, Step, Touch,
    Ttl, Value,
};
use std::fmt::Write;

/// Words of a line: those by position, and those with a name.
struct Line<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let (mut words, mut options) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            match (word.strip_prefix('@'), word.split_once('=')) {
                (Some(at), _) => options.push(("@", at)),
                (None, Some(option)) => options.push(option),
                (None, None) => words.push(word),
            }
        }
        Self { words, options }
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.option(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    }

    fn signed(&self, name: &str) -> Option<i64> {
        self.option(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    }

    fn key(&self) -> Key {
        Key::new(self.words.get(1).expect("a key")).expect("a valid key")
    }

    /// A value: the third word, or `size=` times `x`.
    fn value(&self) -> Value {
        let bytes = match self.number("size") {
            Some(size) => Bytes::from(vec![b'x'; size as usize]),
            None => Bytes::from((*self.words.get(2).expect("a value")).to_owned()),
        };
        Value { bytes, content_type: self.option("type").map(Into::into) }
    }

    fn ttl(&self) -> Ttl {
        match self.option("ttl_ms") {
            None => self.number("until").map_or(Ttl::Default, Ttl::At),
            Some("keep") => Ttl::Keep,
            Some("never") => Ttl::Never,
            Some(_) if self.words.contains(&"sliding") => Ttl::Sliding(self.number("ttl_ms").unwrap_or(0)),
            Some(_) => Ttl::Ms(self.number("ttl_ms").unwrap_or_default()),
        }
    }

    fn condition(&self) -> Condition {
        match self.option("if") {
            None => Condition::Always,
            Some("absent") => Condition::Absent,
            Some("present") => Condition::Present,
            Some(since) if since.starts_with('>') => {
                Condition::AbsentSince(since[1..].parse().expect("an index"))
            }
            Some(text) if text.starts_with("is:") => Condition::ValueIs(Bytes::from(text[3..].to_owned())),
            Some(text) if text.starts_with("not:") => {
                Condition::ValueIsNot(Bytes::from(text[4..].to_owned()))
            }
            Some(text) if text.starts_with("digest:") => Condition::DigestIs(digest(&text[7..])),
            Some(text) if text.starts_with("not-digest:") => Condition::DigestIsNot(digest(&text[11..])),
            Some("no-hash") => Condition::NoHash,
            Some("present-no-hash") => Condition::PresentNoHash,
            Some(list) if list.starts_with('!') => Condition::NoneOf(revisions(&list[1..])),
            Some(list) if list.contains(',') => Condition::AnyOf(revisions(list)),
            Some(_) => Condition::Revision(self.number("if").unwrap_or_default()),
        }
    }

    fn only(&self) -> DeadlineCondition {
        match self.option("only") {
            None => DeadlineCondition::Always,
            Some("none") => DeadlineCondition::None,
            Some("some") => DeadlineCondition::Some,
            Some("later") => DeadlineCondition::Later,
            Some("earlier") => DeadlineCondition::Earlier,
            Some("earlier_than_some") => DeadlineCondition::EarlierThanSome,
            Some(other) => panic!("only={other} is unknown"),
        }
    }

    fn config_change(&self) -> ConfigChange {
        ConfigChange {
            policy: self.option("policy").map(|name| match name {
                "lru" => Policy::Lru,
                "lfu" => Policy::Lfu,
                "s3fifo" => Policy::S3Fifo,
                "noeviction" => Policy::NoEviction,
                other => panic!("there is no policy {other}"),
            }),
            capacity_entries: self.number("entries"),
            capacity_bytes: self.number("bytes"),
            default_ttl_ms: match self.option("ttl_ms") {
                Some("none") => Some(None),
                _ => self.number("ttl_ms").map(Some),
            },
            ..ConfigChange::default()
        }
    }

    fn op(&self) -> Option<Op> {
        let condition = self.condition();
        let previous = self.words.contains(&"previous");
        Some(match self.words[0] {
            "get" => Op::Get { key: self.key() },
            "put" => Op::Put { key: self.key(), value: self.value(), ttl: self.ttl(), condition, previous },
            "delete" => Op::Delete { key: self.key(), condition, previous },
            "incr" => Op::Incr {
                key: self.key(),
                by: self.signed("by").unwrap_or(1),
                initial: self.signed("initial").unwrap_or(0),
                ttl: self.ttl(),
                condition,
            },
            "expire" => Op::Expire { key: self.key(), ttl: self.ttl(), condition, only: self.only() },
            "append" => Op::Append { key: self.key(), bytes: self.value().bytes },
            "setrange" => {
                let offset = self.number("offset").unwrap_or(0);
                Op::SetRange { key: self.key(), offset, bytes: self.value().bytes }
            }
            "decimal" => Op::IncrDecimal { key: self.key(), by: self.option("by").unwrap_or("1").to_owned() },
            "within" => {
                let is_set = self.option("ttl_ms").is_some() || self.option("until").is_some();
                let bound = |name: &str| self.option(name).map(str::to_owned);
                let step = match bound("decimal") {
                    Some(by) => Step::Decimal { by, lower: bound("lower"), upper: bound("upper") },
                    None => Step::Integer {
                        by: self.signed("by").unwrap_or(1),
                        lower: self.signed("lower").unwrap_or(i64::MIN),
                        upper: self.signed("upper").unwrap_or(i64::MAX),
                    },
                };
                Op::IncrWithin {
                    key: self.key(),
                    step,
                    saturates: self.words.contains(&"saturates"),
                    ttl: is_set.then(|| self.ttl()),
                    keeps_deadline: self.words.contains(&"keeps"),
                }
            }
            "getex" => {
                let is_set = self.option("ttl_ms").is_some() || self.option("until").is_some();
                Op::GetEx { key: self.key(), ttl: is_set.then(|| self.ttl()) }
            }
            "look" => Op::Look { key: self.key() },
            "publish" => Op::Publish { channel: self.key(), message: self.value().bytes },
            "hset" => Op::SetFields {
                key: self.key(),
                fields: self
                    .options
                    .iter()
                    .filter_map(|(name, value)| Some((field(name)?, text(value))))
                    .collect(),
                only_new: self.words.contains(&"new"),
            },
            "hdel" => Op::DeleteFields {
                key: self.key(),
                fields: self.words[2..].iter().map(|name| text(name)).collect(),
            },
            "hincr" => Op::IncrField {
                key: self.key(),
                field: text(self.words[2]),
                by: self.signed("by").unwrap_or(1),
            },
            "hdecimal" => {
                let by = self.option("by").unwrap_or("1").to_owned();
                Op::IncrFieldDecimal { key: self.key(), field: text(self.words[2]), by }
            }
            "persist" => Op::Persist { key: self.key(), condition },
            _ => return None,
        })
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The name of a field: an option whose name begins with a point.
fn field(option: &str) -> Option<Bytes> {
    option.strip_prefix('.').map(text)
}

fn digest(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("16 digits")
}

/// `7,8` as numbers.
fn revisions(list: &str) -> Box<[u64]> {
    list.split(',').map(|text| text.parse().unwrap_or_else(|_| panic!("if={list} has no numbers"))).collect()
}

/// A cache, and the clock of a leader.
pub struct Script {
    pub cache: Cache,
    at_ms: u64,
}

impl Script {
    pub fn new() -> Self {
        Self { cache: Cache::new(CacheConfig::default()), at_ms: 1_000 }
    }

    /// Does what the lines say (more than one: a batch) and prints what came of it.
    pub fn run(&mut self, lines: &[&str]) -> String {
        let line = Line::parse(lines[0]);
        if let Some(at_ms) = line.number("@") {
            self.at_ms = at_ms;
        }
        match line.words[0] {
            "new" => {
                self.cache = Cache::new(CacheConfig::default());
                self.commit(&line, Command::Configure(line.config_change()))
            }
            "read" => {
                let found = self.cache.get(line.key().as_str());
                found.map_or("absent\n".into(), |found| format!("{}\n", show_found(&found)))
            }
            "keys" => self.keys(&line),
            "tombstone" => self.tombstone(&line),
            "victims" => self.victims(),
            "state" => self.state(),
            "advance" => {
                self.cache.advance(self.cache.index() + 1);
                self.state()
            }
            "fill" => self.fill(&line),
            "batch" | "sequence" => {
                let (guards, ops): (Vec<Line<'_>>, Vec<Line<'_>>) = lines[1..]
                    .iter()
                    .map(|text| Line::parse(text))
                    .partition(|line| line.words[0] == "guard");
                let guard = |line: &Line<'_>| match line.option("since") {
                    None => Guard::Key { key: line.key(), condition: line.condition() },
                    Some(since) => Guard::Keys {
                        prefix: line.option("prefix").unwrap_or_default().to_owned(),
                        since: since.parse().expect("an index"),
                        count: line.option("count").expect("a count").parse().expect("a number"),
                    },
                };
                let ops = ops.iter().map(|line| line.op().expect("an operation")).collect();
                match line.words[0] {
                    "batch" => self.commit(&line, Command::Batch(ops)),
                    _ => {
                        let guards = guards.iter().map(guard).collect();
                        self.commit(&line, Command::Sequence { guards, ops })
                    }
                }
            }
            "absence" => format!("{}\n", show_absence(&self.cache.absence(line.key().as_str()))),
            "clear" => {
                let option = |name| line.option(name).map(str::to_owned);
                self.commit(&line, Command::Clear { prefix: option("prefix"), unless: option("unless") })
            }
            "configure" => self.commit(&line, Command::Configure(line.config_change())),
            "tick" => self.commit(&line, Command::Tick),
            verb => {
                let op = line.op().unwrap_or_else(|| panic!("there is no verb {verb}"));
                self.commit(&line, Command::One(op))
            }
        }
    }

    fn commit(&mut self, line: &Line<'_>, command: Command) -> String {
        let index = line.number("index").unwrap_or(self.cache.index() + 1);
        let sent_after = line.number("sent-after");
        let idempotency_key = line.option("id").map(|id| IdempotencyKey { text: id.to_owned(), sent_after });
        let origin = line.option("origin").map(str::to_owned);
        let touches = line.words.iter().filter_map(|word| self.touch(word)).collect();
        show_applied(
            &self.cache.apply(Stamp { index, at_ms: self.at_ms, idempotency_key, origin, touches }, command),
        )
    }

    /// A word like `+key` or `+key*3`: reads of that key which the entry tells of.
    fn touch(&self, word: &str) -> Option<Touch> {
        let word = word.strip_prefix('+')?;
        let (key, count) = word.split_once('*').unwrap_or((word, "1"));
        let seen = self.cache.read(key).unwrap_or_else(|| panic!("{key} is not there to be read"));
        Some(Touch { entry: seen.entry, count: count.parse().expect("a count") })
    }

    /// Puts `count=` keys, `prefix=` and a number each, and prints only where that leads.
    fn fill(&mut self, line: &Line<'_>) -> String {
        for number in 0..line.number("count").expect("a count") {
            let key = format!("{}{number:05}", line.option("prefix").unwrap_or("k"));
            let put = Op::Put {
                key: Key::new(&key).expect("a valid key"),
                value: Value { bytes: Bytes::new(), content_type: None },
                ttl: line.ttl(),
                condition: Condition::Always,
                previous: false,
            };
            self.commit(line, Command::One(put));
        }
        self.state()
    }

    fn keys(&self, line: &Line<'_>) -> String {
        let limit = line.number("limit").unwrap_or(100) as usize;
        let keys = self.cache.keys(line.option("prefix").unwrap_or(""), line.option("after"), limit);
        let mut out = String::new();
        for (key, info) in keys {
            let until = show_deadline(info.entry.expires_at_ms);
            writeln!(out, "{key} revision={} bytes={}{until}", info.entry.revision, info.bytes)
                .expect("a String");
        }
        if out.is_empty() { "none\n".into() } else { out }
    }

    fn tombstone(&self, line: &Line<'_>) -> String {
        match self.cache.tombstone(line.key().as_str()) {
            None => "none\n".into(),
            Some(tombstone) => {
                let scope = match tombstone.scope {
                    Scope::Key(key) => format!("key {key}"),
                    Scope::Prefix(prefix) => format!("prefix {prefix:?}"),
                };
                format!("{scope} revision={} at_ms={}\n", tombstone.revision, tombstone.at_ms)
            }
        }
    }

    /// Who goes next.
    fn victims(&self) -> String {
        let victims = self.cache.next_victims(10);
        let lines = victims.iter().map(|victim| format!("{} frequency={}\n", victim.key, victim.frequency));
        if victims.is_empty() { "none\n".into() } else { lines.collect() }
    }

    fn state(&self) -> String {
        let cache = &self.cache;
        let due = cache.next_due_ms().map_or("idle".into(), |due| format!("due={due}"));
        let (index, now_ms, entries, bytes) = (cache.index(), cache.now_ms(), cache.len(), cache.bytes());
        format!("index={index} now_ms={now_ms} entries={entries} bytes={bytes} {due}\n")
    }
}

fn show_applied(applied: &Applied) -> String {
    let mut out = String::from(if applied.replayed { "replayed " } else { "" });
    match &applied.outcome {
        Ok(outcome) => writeln!(out, "{}", show_outcome(outcome)).expect("a String"),
        Err(error) => writeln!(out, "refused{}: {error}", show_position(error)).expect("a String"),
    }
    // A long tale is told by its ends.
    let many = applied.events.len() > 8;
    for (position, event) in applied.events.iter().enumerate() {
        if many && position == 2 {
            writeln!(out, "event ... {} more ...", applied.events.len() - 4).expect("a String");
        }
        if !many || position < 2 || position + 2 >= applied.events.len() {
            writeln!(out, "event {}", show_event(event)).expect("a String");
        }
    }
    out
}

fn show_outcome(outcome: &Outcome) -> String {
    let new = |created: bool| if created { " created" } else { "" };
    match outcome {
        Outcome::Put { revision, created, previous } => {
            format!("put revision={revision}{}{}", new(*created), show_previous(previous.as_ref()))
        }
        Outcome::Deleted { revision, previous } => {
            format!("deleted revision={revision}{}", show_previous(previous.as_ref()))
        }
        Outcome::NotFound(_) => "not found".into(),
        Outcome::Counter { revision, value, created } => {
            format!("counter {value} revision={revision}{}", new(*created))
        }
        Outcome::Deadline { revision, expires_at_ms } => {
            format!("deadline revision={revision}{}", show_deadline(*expires_at_ms))
        }
        Outcome::Length { revision, bytes } => format!("{bytes} bytes revision={revision}"),
        Outcome::Sum { revision, value, added } => format!("sum {value} added={added} revision={revision}"),
        Outcome::Decimal { revision, text } => format!("decimal {text} revision={revision}"),
        Outcome::Fields { revision, count } => format!("{count} fields revision={revision}"),
        Outcome::Looked(None) => "looked at nothing".into(),
        Outcome::Looked(Some(info)) => {
            let until = show_deadline(info.entry.expires_at_ms);
            let kind = if info.kind == Kind::Hash { "a hash of " } else { "" };
            format!("looked at {kind}{} bytes revision={}{until}", info.bytes, info.entry.revision)
        }
        Outcome::Got(None) => "got nothing".into(),
        Outcome::Got(Some(found)) => format!("got {}", show_found(found)),
        Outcome::Batch { revision, outcomes } => {
            let lines: Vec<String> =
                outcomes.iter().map(|outcome| format!("\n  {}", show_outcome(outcome))).collect();
            format!("batch revision={revision}{}", lines.concat())
        }
        Outcome::Sequence { revision, results } => {
            let lines = results.iter().map(|result| match result {
                Ok(outcome) => format!("\n  {}", show_outcome(outcome)),
                Err(refusal) => {
                    let OpRefusal { error, key } = &**refusal;
                    let key = match key {
                        KeyState::Absent(absence) => show_absence(absence),
                        KeyState::Present { info, value } => {
                            let value =
                                value.as_ref().map_or(String::new(), |value| format!(" {:?}", value.bytes));
                            format!("it has revision={}{value}", info.revision)
                        }
                    };
                    format!("\n  refused: {error}; {key}")
                }
            });
            format!("sequence revision={revision}{}", lines.collect::<String>())
        }
        Outcome::Session(_) | Outcome::SessionEnded { .. } | Outcome::Locked { .. } | Outcome::Unlocked => {
            format!("{outcome:?}")
        }
        Outcome::NotCleared { count } => format!("not cleared, for {count}"),
        Outcome::Cleared { revision, removed } => format!("cleared {removed} revision={revision}"),
        Outcome::Configured(config) => format!("configured {}", show_config(config)),
        Outcome::Ticked => "ticked".into(),
        Outcome::FeatureLevel(level) => format!("feature level {level}"),
        Outcome::Merged { revision, results } => format!("merged {results:?} revision={revision}"),
        Outcome::Published { revision } => format!("published revision={revision}"),
        Outcome::TokensChanged { revision } => format!("tokens changed revision={revision}"),
    }
}

fn show_previous(previous: Option<&Found>) -> String {
    previous.map_or(String::new(), |found| format!(" instead of {}", show_found(found)))
}

fn show_event(event: &Event) -> String {
    match event {
        Event::Put { record, expires_at_ms, created, .. } => {
            let new = if *created { " created" } else { "" };
            let (key, value) = (record.key(), show_value(&record.value()));
            format!("put {key}={value}{}{new}", show_deadline(*expires_at_ms))
        }
        Event::Deadline { key, expires_at_ms, .. } => {
            format!("deadline {key}{}", show_deadline(*expires_at_ms))
        }
        Event::Removed { key, cause } => {
            let cause = match cause {
                Cause::Delete => "deleted",
                Cause::Expire => "expired",
                Cause::Evict => "evicted",
            };
            format!("{cause} {key}")
        }
        Event::Cleared { prefix, removed } => format!("cleared {prefix:?} removed={removed}"),
        Event::Configured { config, .. } => format!("configured {}", show_config(config)),
        Event::Message { channel, message } => format!("message at {channel}: {message:?}"),
        Event::Merged { history } => format!("merged from {history}"),
        Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::Locked { .. }
        | Event::Unlocked { .. } => {
            format!("{event:?}")
        }
    }
}

fn show_found(found: &Found) -> String {
    format!(
        "{} revision={} created_revision={} version={} created_at_ms={} modified_at_ms={}{}",
        show_value(&found.value),
        found.info.revision,
        found.info.created_revision,
        found.info.version,
        found.info.created_at_ms,
        found.info.modified_at_ms,
        show_deadline(found.info.expires_at_ms),
    ) + &found.info.origin.as_ref().map_or(String::new(), |origin| format!(" origin={origin}"))
}

fn show_config(config: &CacheConfig) -> String {
    let CacheConfig { policy, capacity_entries, capacity_bytes, default_ttl_ms, .. } = config;
    let ttl = default_ttl_ms.map_or("none".into(), |ttl_ms| ttl_ms.to_string());
    format!("policy={policy:?} entries={capacity_entries} bytes={capacity_bytes} ttl_ms={ttl}")
}
