//! The Rust client carries out the calls of a case.

use crate::case::Case;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockstep::api::{Consistency, ErrorCode, IncrRequest, OpRequest, OpResult, TokenText, WatchMessage};
use lockstep::client::{Client, ClientError, ClientToken, PutOptions, WatchOptions};
use serde_json::{Value, json};
use std::time::Duration;

/// The outcome of each call.
pub async fn run(case: &Case, urls: &[String]) -> Vec<Value> {
    let mut client = Client::new(urls, Duration::from_millis(case.timeout_ms)).expect("it can be made");
    for (name, value) in &case.options {
        let value = value.as_str().expect("options are text");
        client = match name.as_str() {
            "origin" => client.with_origin(value).expect("a good name"),
            "expect_history" => client.expecting(value),
            "token" => client.with_token(Some(ClientToken::new(&TokenText::new(value)).expect("a token"))),
            _ => panic!("{name} is no option"),
        };
    }
    let mut outcomes = Vec::new();
    for call in &case.calls {
        outcomes.push(match carry_out(&client, call).await {
            Ok(outcome) => outcome,
            Err(error) => failed(&error),
        });
    }
    outcomes
}

fn failed(error: &ClientError) -> Value {
    let code = match error {
        ClientError::Unreachable { .. } => json!("unreachable"),
        ClientError::Garbled { .. } | ClientError::NoNode { .. } | ClientError::TooLong { .. } => {
            json!("garbled")
        }
        ClientError::OtherCluster { .. } => json!("other_cluster"),
        ClientError::Problem(_) | ClientError::Lost { .. } => json!(error.code()),
    };
    let mut failed = json!({"error": code, "effect": error.effect()});
    if let ClientError::Problem(problem) = error {
        failed["revision"] = json!(problem.revision);
        failed["holder"] = json!(problem.holder.as_ref().map(|holder| &holder.session_name));
    }
    failed
}

async fn carry_out(client: &Client, call: &Value) -> Result<Value, ClientError> {
    let text = |name: &str| call[name].as_str().unwrap_or_default();
    let key = text("key");
    Ok(match text("op") {
        "put" => {
            let options = PutOptions {
                content_type: call["content_type"].as_str().map(str::to_owned),
                if_revision: call["if_revision"].as_u64(),
                if_absent: call["if_absent"] == true,
                ..PutOptions::default()
            };
            let value = match call["value_base64"].as_str() {
                Some(base64) => BASE64.decode(base64).expect("base64").into(),
                None => text("value").to_owned().into(),
            };
            let stored = client.put(key, value, &options).await?;
            json!({"revision": stored.revision, "created": stored.created})
        }
        "get" => match client.get(key, Consistency::Linearizable).await? {
            None => Value::Null,
            Some(found) => match std::str::from_utf8(&found.value) {
                Ok(value) => json!({"value": value, "revision": found.meta.revision}),
                Err(_) => {
                    json!({"value_base64": BASE64.encode(&found.value), "revision": found.meta.revision})
                }
            },
        },
        "delete" => json!({"found": client.delete(key, None).await?}),
        "incr" => {
            let by = match &call["by"] {
                Value::String(by) => by.parse().expect("a number"),
                by => by.as_i64().expect("a number"),
            };
            let counter = client.incr(key, &IncrRequest { by: Some(by), ..IncrRequest::default() }).await?;
            json!({"value": counter.value.to_string(), "revision": counter.revision})
        }
        "batch_each" => {
            let answer = client.batch_each(&operations(call)).await?;
            let results = answer.results.iter().map(|result| match result {
                OpResult::Done(_) => json!({"ok": true}),
                OpResult::Refused { refused, .. } => json!({"ok": false, "code": refused.code}),
            });
            json!({"revision": answer.revision, "results": results.collect::<Vec<Value>>()})
        }
        "batch" => json!({"revision": client.batch(&operations(call)).await?.revision}),
        "get_many" => {
            let keys: Vec<String> = serde_json::from_value(call["keys"].clone()).expect("keys");
            let found = client.get_many(&keys, Consistency::Linearizable).await?;
            let values = found.into_iter().map(|entry| {
                let bytes = entry?.value.into_bytes().expect("it is well-formed");
                Some(String::from_utf8(bytes.into()).expect("text"))
            });
            json!({"values": values.collect::<Vec<Option<String>>>()})
        }
        "lock" => {
            let session = call["session"].as_u64().expect("a session");
            json!({"token": client.acquire_lock(text("name"), session).await?.lock.token})
        }
        "watch" => watch(client, call).await,
        other => panic!("{other} is no call"),
    })
}

fn operations(call: &Value) -> Vec<OpRequest> {
    serde_json::from_value(call["ops"].clone()).expect("operations")
}

/// As many messages as the call asks for. That the cluster is in another history is an error of the watch, after which it is
/// begun anew: both are told as the other clients tell it.
async fn watch(client: &Client, call: &Value) -> Value {
    let prefixes = call["prefix"].as_str().map(str::to_owned).into_iter().collect();
    let options = WatchOptions { prefixes, ..WatchOptions::default() };
    let wanted = call["messages"].as_u64().expect("a number") as usize;
    let mut watching = client.watch(options.clone());
    let (mut messages, mut is_elsewhere) = (Vec::new(), false);
    while messages.len() < wanted {
        match watching.next().await {
            Ok(message) => {
                messages.push(json!({"type": message.kind(), "index": message.index()}));
                if let (WatchMessage::Subscribed { index, .. }, true) = (&message, is_elsewhere) {
                    messages.push(json!({"type": "resync", "index": index}));
                    is_elsewhere = false;
                }
            }
            Err(error) if error.code() == ErrorCode::OtherHistory => {
                is_elsewhere = true;
                watching = client.watch(options.clone());
            }
            Err(error) => {
                let mut outcome = failed(&error);
                outcome["messages"] = messages.into();
                return outcome;
            }
        }
    }
    json!({"messages": messages})
}
