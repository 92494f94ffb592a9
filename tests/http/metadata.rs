//! What is told of an entry beside its value: everywhere the same.

use serde_json::Value;

/// The same JSON without what is told of entries beside value, revision and key. Each must have had it.
pub fn without_metadata(mut told: Value) -> Value {
    strip(&mut told);
    told
}

fn strip(told: &mut Value) {
    match told {
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::Object(members) => {
            members.values_mut().for_each(strip);
            if members.remove("version").is_some() {
                let times = ["created_at_ms", "modified_at_ms"].map(|name| members.remove(name));
                assert!(
                    times.iter().all(|time| time.as_ref().is_some_and(|at| at.as_u64() > Some(0))),
                    "{times:?}"
                );
                for absent in ["ttl_ms", "sliding_ms", "origin", "content_type"] {
                    if members.get(absent) == Some(&Value::Null) {
                        members.remove(absent);
                    }
                }
            }
        }
        _ => {}
    }
}
