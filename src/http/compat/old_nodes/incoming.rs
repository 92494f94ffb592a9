//! What an old node sends, as commands. The text of a packet is parsed once, and values keep their exact JSON.

use super::super::super::api_error::ApiError;
use super::super::put::PutBody;
use crate::api::ErrorCode;
use crate::cache::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::cache::{Command, Condition, ConfigChange, Key, Op, Policy, Ttl};
use crate::replica::OldNodeOperation;
use serde::Deserialize;
use serde_json::value::RawValue;
use socketioxide::adapter::Adapter;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;
use std::convert::Infallible;
use std::sync::Arc;

/// Items of a full-sync that are taken.
const ITEMS_MAX: usize = 100_000;

/// The text of a packet: a JSON array of the event's name and its data. Empty where it has attachments or is binary.
pub(super) struct Packet(pub String);

impl<A: Adapter> FromMessageParts<A> for Packet {
    type Error = Infallible;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        value: &mut Value,
        _: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self(match value {
            Value::Str(text, None) => text.to_string(),
            Value::Str(text, Some(attached)) if attached.is_empty() => text.to_string(),
            Value::Str(..) | Value::Bytes(_) => String::new(),
        }))
    }
}

/// Who registers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodeInfo {
    pub node_id: String,
    pub port: Option<u16>,
}

/// An operation, and what an answer about it needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub node_id: String,
    pub operation_id: String,
    pub kind: String,
    pub command: Command,
}

/// Why it is refused, with as much of what it says as could be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub operation_id: Option<String>,
    pub kind: Option<String>,
    pub key: Option<String>,
    pub error: Box<ApiError>,
}

/// An item of a full-sync, or its key and what is wrong with it.
pub(super) type ReadItem = Result<Op, (String, Box<ApiError>)>;

/// Only the names that are needed to know an operation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named<'a> {
    #[serde(rename = "type", default)]
    kind: Option<serde_json::Value>,
    #[serde(default)]
    key: Option<serde_json::Value>,
    #[serde(default)]
    node_id: Option<serde_json::Value>,
    #[serde(default)]
    operation_id: Option<serde_json::Value>,
    #[serde(default)]
    strategy: Option<serde_json::Value>,
    #[serde(default)]
    port: Option<serde_json::Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, detail)
}

/// The data of a packet.
fn data_of(packet: &Packet) -> Result<&RawValue, ApiError> {
    let wrong = || invalid("Expected one JSON object, without attachments");
    let (_, data): (&RawValue, &RawValue) = serde_json::from_str(&packet.0).map_err(|_| wrong())?;
    if data.get().starts_with('{') { Ok(data) } else { Err(wrong()) }
}

fn text_of(value: Option<serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An id as the log keeps it: short, and without what separates ids there.
fn id_of(what: &str, value: Option<serde_json::Value>) -> Result<String, ApiError> {
    let id = text_of(value).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| invalid(format!("{what} is required")))?;
    if id.chars().any(char::is_control) || id.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(invalid(format!(
            "{what} has at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes, and no control characters"
        )));
    }
    Ok(id)
}

impl NodeInfo {
    /// # Errors
    /// `invalid_body`.
    pub fn parse(packet: &Packet) -> Result<Self, ApiError> {
        let named: Named = serde_json::from_str(data_of(packet)?.get())
            .map_err(|error| invalid(format!("Expected {{nodeId, port}}: {error}")))?;
        let port = text_of(named.port).and_then(|port| port.parse().ok());
        Ok(Self { node_id: id_of("nodeId", named.node_id)?, port })
    }
}

impl Incoming {
    /// # Errors
    /// [`Unreadable`].
    pub fn parse(packet: &Packet, value_bytes_max: usize) -> Result<Self, Unreadable> {
        let none = |error| Unreadable { operation_id: None, kind: None, key: None, error: Box::new(error) };
        let data = data_of(packet).map_err(none)?;
        let named: Named = serde_json::from_str(data.get())
            .map_err(|error| none(invalid(format!("This is no operation: {error}"))))?;
        let (kind, key) = (text_of(named.kind), text_of(named.key));
        let operation_id = id_of("operationId", named.operation_id);
        let known_id = operation_id.as_ref().ok().cloned();
        let parsed = operation_id.and_then(|operation_id| {
            let node_id = id_of("nodeId", named.node_id)?;
            let length = OldNodeOperation::key(&node_id, &operation_id).len();
            if length > IDEMPOTENCY_KEY_BYTES_MAX {
                let more = length - IDEMPOTENCY_KEY_BYTES_MAX;
                return Err(invalid(format!("nodeId and operationId are {more} bytes too long together")));
            }
            let kind = kind.clone().ok_or_else(|| invalid("type is required"))?;
            let command = match kind.as_str() {
                "set" => {
                    let body: PutBody =
                        serde_json::from_str(data.get()).map_err(|error| invalid(error.to_string()))?;
                    Command::One(body.op(value_bytes_max)?)
                }
                "delete" => {
                    let key = key.clone().ok_or_else(|| invalid("key is required"))?;
                    let key = Key::new(&key).map_err(|error| {
                        ApiError::new(ErrorCode::InvalidKey, format!("Invalid key: {error}"))
                    })?;
                    Command::One(Op::Delete { key, condition: Condition::Always, previous: false })
                }
                "clear" => Command::Clear { prefix: None, unless: None },
                "strategy-change" => {
                    let strategy = text_of(named.strategy);
                    let policy = strategy.and_then(|name| Policy::from_name(&name.to_ascii_lowercase()));
                    let policy =
                        policy.ok_or_else(|| invalid("Strategy must be LRU, LFU, S3FIFO or NOEVICTION"))?;
                    Command::Configure(ConfigChange { policy: Some(policy), ..ConfigChange::default() })
                }
                other => {
                    let known = "set, delete, clear and strategy-change";
                    let other: String = other.chars().take(64).collect();
                    return Err(invalid(format!("There is no operation `{other}`: there are {known}")));
                }
            };
            Ok(Self { node_id, operation_id, kind, command })
        });
        parsed.map_err(|error| Unreadable { operation_id: known_id, kind, key, error: Box::new(error) })
    }

    /// The node that a packet says it is from.
    pub fn node_id(packet: &Packet) -> Option<String> {
        let named: Named = serde_json::from_str(data_of(packet).ok()?.get()).ok()?;
        id_of("nodeId", named.node_id).ok()
    }

    /// The key that it is about; `None` if it is about all.
    pub fn key(&self) -> Option<&Key> {
        match &self.command {
            Command::One(op) => Some(op.key()),
            _ => None,
        }
    }
}

/// The items of a full-sync, as puts where the cluster has no such key. Those that break a rule are errors.
///
/// # Errors
/// It is no full-sync.
pub(super) fn items_of(packet: &Packet, value_bytes_max: usize) -> Result<Vec<ReadItem>, ApiError> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(default)]
        key: Option<serde_json::Value>,
        #[serde(borrow, default)]
        value: Option<&'a RawValue>,
    }
    /// What the original server keeps under a key that one of its own clients stored.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Kept<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
        #[serde(rename = "timestamp")]
        _timestamp: serde_json::Value,
        #[serde(rename = "accessCount")]
        _access_count: serde_json::Value,
    }
    let named: Named = serde_json::from_str(data_of(packet)?.get())
        .map_err(|error| invalid(format!("This is no full-sync: {error}")))?;
    let items = named.data.ok_or_else(|| invalid("data is required"))?;
    let items: Vec<Item> =
        serde_json::from_str(items.get()).map_err(|error| invalid(format!("data: {error}")))?;
    if items.len() > ITEMS_MAX {
        return Err(invalid(format!("A full-sync has at most {ITEMS_MAX} items: send several")));
    }
    let op_of = |item: &Item| {
        let key = item.key.clone().unwrap_or_default();
        let value = item.value.ok_or_else(|| invalid("Key and value are required"))?;
        let value = serde_json::from_str::<Kept>(value.get()).map_or(value, |kept| kept.value);
        let body = format!("{{\"key\":{key},\"value\":{}}}", value.get());
        let body: PutBody = serde_json::from_str(&body).map_err(|error| invalid(error.to_string()))?;
        Ok(match body.op(value_bytes_max)? {
            Op::Put { key, value, previous, .. } => {
                Op::Put { key, value, ttl: Ttl::Default, condition: Condition::Absent, previous }
            }
            other => other,
        })
    };
    let items = items.iter().map(|item| {
        op_of(item).map_err(|error| (text_of(item.key.clone()).unwrap_or_default(), Box::new(error)))
    });
    Ok(items.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: &str) -> Result<Incoming, String> {
        let packet = Packet(format!(r#"["cache-operation",{data}]"#));
        Incoming::parse(&packet, 1_000).map_err(|unreadable| unreadable.error.problem().detail.clone())
    }

    #[test]
    fn the_four_operations_of_an_old_node_are_commands() {
        let with = |rest: &str| format!(r#"{{"nodeId":"n","operationId":"o","timestamp":1,{rest}}}"#);
        let command = |rest: &str| parse(&with(rest)).unwrap().command;
        let Command::One(Op::Put { key, value, .. }) =
            command(r#""type":"set","key":"k","value":{"b":1,"a":12345678901234567890123}"#)
        else {
            panic!("a put")
        };
        assert_eq!((key.as_str(), &value.bytes[..]), ("k", &br#"{"b":1,"a":12345678901234567890123}"#[..]));
        assert!(matches!(command(r#""type":"delete","key":"k""#), Command::One(Op::Delete { .. })));
        assert_eq!(command(r#""type":"clear""#), Command::Clear { prefix: None, unless: None });
        let Command::Configure(change) = command(r#""type":"strategy-change","strategy":"LFU""#) else {
            panic!("a change of settings")
        };
        assert_eq!(change.policy, Some(Policy::Lfu));
        for (rest, says) in [
            (r#""type":"set","key":"k""#, "Key and value are required"),
            (r#""type":"delete""#, "key is required"),
            (r#""type":"delete","key":"a\n""#, "Invalid key"),
            (r#""type":"evict","key":"k""#, "There is no operation `evict`"),
            (r#""key":"k""#, "type is required"),
            (r#""type":"strategy-change","strategy":"FIFO""#, "Strategy must be"),
        ] {
            let refused = parse(&with(rest)).unwrap_err();
            assert!(refused.contains(says), "{rest}: {refused}");
        }
        for (data, says) in [
            (r#"{"type":"clear","nodeId":"n"}"#.to_owned(), "operationId is required"),
            (r#"{"type":"clear","operationId":"o"}"#.to_owned(), "nodeId is required"),
            (r#"{"type":"clear","operationId":"o","nodeId":"a\nb"}"#.to_owned(), "no control characters"),
            (format!(r#"{{"type":"clear","operationId":"o","nodeId":"{}"}}"#, "n".repeat(128)), "too long"),
            ("7".to_owned(), "one JSON object"),
        ] {
            let refused = parse(&data).unwrap_err();
            assert!(refused.contains(says), "{data}: {refused}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn the_items_of_a_full_sync_overwrite_nothing() {
        let data = r#"{"type":"full-sync","nodeId":"n","data":[{"key":"plain","value":1},
            {"key":"kept","value":{"value":"v","timestamp":"2026-01-01T00:00:00.000Z","accessCount":3}},
            {"key":"other","value":{"value":"v","more":1}},{"value":1}]}"#;
        let items = items_of(&Packet(format!(r#"["cache-sync",{data}]"#)), 1_000).unwrap();
        let texts: Vec<String> = items
            .iter()
            .map(|item| match item {
                Ok(Op::Put { key, value, condition: Condition::Absent, .. }) => {
                    format!("{}={}", key.as_str(), String::from_utf8_lossy(&value.bytes))
                }
                Ok(other) => panic!("{other:?} is no put where there is nothing"),
                Err((_, error)) => error.problem().detail.clone(),
            })
            .collect();
        let expected = ["plain=1", "kept=v", r#"other={"value":"v","more":1}"#, "Key and value are required"];
        assert_eq!(texts, expected);
    }
}
