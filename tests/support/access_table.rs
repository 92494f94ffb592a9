//! Who may use which route, for tests: every route, kinds of principals, and what is refused.

#![allow(dead_code, reason = "each test binary uses its own part")]

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Observe,
    /// To read or write the key `a/k`.
    Read,
    Write,
    /// To read or write all keys.
    ReadAll,
    WriteAll,
    Admin,
    /// The same, about this node alone.
    AdminHere,
}

/// A method, its route, the path and the body that are sent, and what that needs.
pub type Row = (&'static str, &'static str, &'static str, &'static str, Needs);

/// Every route with each of its methods. What would change the cluster for good has a wrong body.
pub fn table() -> Vec<Row> {
    use Needs::{Admin, AdminHere, Nothing, Observe, Read, ReadAll, Write, WriteAll};
    let put = r#"{"key":"a/k","value":1}"#;
    let both = r#"{"ops":[{"op":"get","key":"a/k"},{"op":"put","key":"b/k","value":"1"}]}"#;
    vec![
        ("GET", "/v1/kv/{key}", "/v1/kv/a%2Fk", "", Read),
        ("PUT", "/v1/kv/{key}", "/v1/kv/a%2Fk", "1", Write),
        ("DELETE", "/v1/kv/{key}", "/v1/kv/a%2Fk", "", Write),
        ("POST", "/v1/kv/{key}/incr", "/v1/kv/a%2Fn/incr", "", Write),
        ("POST", "/v1/kv/{key}/expire", "/v1/kv/a%2Fk/expire", r#"{"ttl_ms":60000}"#, Write),
        ("POST", "/v1/kv/{key}/persist", "/v1/kv/a%2Fk/persist", "", Write),
        ("GET", "/v1/kv/", "/v1/kv/", "", Nothing),
        ("PUT", "/v1/kv/", "/v1/kv/", "", Nothing),
        ("DELETE", "/v1/kv/", "/v1/kv/", "", Nothing),
        ("DELETE", "/v1/kv", "/v1/kv?prefix=a%2F", "", Write),
        ("DELETE", "/v1/kv", "/v1/kv?prefix=a", "", WriteAll),
        ("DELETE", "/v1/kv", "/v1/kv?all=true", "", WriteAll),
        ("POST", "/v1/batch", "/v1/batch", r#"{"ops":[{"op":"put","key":"a/k","value":"1"}]}"#, Write),
        ("POST", "/v1/batch", "/v1/batch", r#"{"ops":[{"op":"get","key":"a/k"}]}"#, Read),
        ("POST", "/v1/batch", "/v1/batch", both, WriteAll),
        ("POST", "/v1/get", "/v1/get", r#"{"keys":["a/k","a/none"]}"#, Read),
        ("POST", "/v1/get", "/v1/get", r#"{"keys":["a/k","b/k"]}"#, ReadAll),
        ("GET", "/v1/keys", "/v1/keys?prefix=a%2F&values=true", "", Read),
        ("GET", "/v1/keys", "/v1/keys?values=true", "", ReadAll),
        ("GET", "/v1/keys", "/v1/keys?prefix=a%2F", "", Read),
        ("GET", "/v1/keys", "/v1/keys", "", ReadAll),
        ("GET", "/v1/sessions", "/v1/sessions?prefix=a%2F", "", Read),
        ("GET", "/v1/sessions", "/v1/sessions", "", ReadAll),
        ("POST", "/v1/sessions", "/v1/sessions", r#"{"name":"a/k","ttl_ms":60000}"#, Write),
        // A session that does not exist has no name by which it could be judged.
        ("POST", "/v1/sessions/{id}/renew", "/v1/sessions/999999/renew", "", Observe),
        ("DELETE", "/v1/sessions/{id}", "/v1/sessions/999999", "", Observe),
        ("GET", "/v1/locks", "/v1/locks?prefix=a%2F", "", Read),
        ("GET", "/v1/locks", "/v1/locks", "", ReadAll),
        ("GET", "/v1/locks/{name}", "/v1/locks/a%2Fk", "", Read),
        ("POST", "/v1/locks/{name}", "/v1/locks/a%2Fk", r#"{"session":999999}"#, Observe),
        ("DELETE", "/v1/locks/{name}", "/v1/locks/a%2Fk?session=999999", "", Write),
        ("GET", "/v1/changes", "/v1/changes?since=0&prefix=a%2F", "", Read),
        ("GET", "/v1/changes", "/v1/changes?since=0", "", ReadAll),
        ("GET", "/v1/time", "/v1/time", "", Observe),
        ("GET", "/v1/digest/range", "/v1/digest/range?prefix=a%2Fk", "", Read),
        ("GET", "/v1/digest/range", "/v1/digest/range", "", ReadAll),
        ("GET", "/v1/watch", "/v1/watch?prefix=a%2F", "", Read),
        ("GET", "/v1/watch", "/v1/watch", "", ReadAll),
        // Each subscription is judged by itself.
        ("GET", "/v1/live", "/v1/live", "", Observe),
        ("GET", "/v1/config", "/v1/config", "", Observe),
        ("PUT", "/v1/config", "/v1/config", "{}", Admin),
        ("GET", "/v1/samples", "/v1/samples", "", Observe),
        ("GET", "/v1/cache", "/v1/cache", "", ReadAll),
        ("GET", "/v1/digest", "/v1/digest", "", Observe),
        ("GET", "/v1/lineage", "/v1/lineage", "", Observe),
        ("GET", "/v1/members", "/v1/members", "", Observe),
        ("GET", "/v1/old-nodes", "/v1/old-nodes", "", Observe),
        ("POST", "/v1/members", "/v1/members", "{}", Admin),
        ("DELETE", "/v1/members/{id}", "/v1/members/999", "", Admin),
        ("POST", "/v1/members/{id}/promote", "/v1/members/999/promote", "", Admin),
        ("POST", "/v1/members/{id}/replace", "/v1/members/999/replace", "", Admin),
        ("GET", "/v1/nodes", "/v1/nodes", "", Observe),
        ("GET", "/v1/old-nodes", "/v1/old-nodes", "", Observe),
        ("GET", "/v1/redis", "/v1/redis", "", Admin),
        ("POST", "/v1/leader", "/v1/leader", r#"{"to":999}"#, Admin),
        ("POST", "/v1/fence", "/v1/fence", "", AdminHere),
        ("GET", "/v1/detached", "/v1/detached", "", Observe),
        ("POST", "/v1/detach", "/v1/detach", r#"{"wrong":1}"#, AdminHere),
        ("POST", "/v1/attach", "/v1/attach", r#"{"wrong":1}"#, AdminHere),
        ("GET", "/v1/losers", "/v1/losers", "", AdminHere),
        ("GET", "/v1/reconcile", "/v1/reconcile", "", Observe),
        ("POST", "/v1/reconcile", "/v1/reconcile", "{}", Admin),
        ("POST", "/v1/upgrade", "/v1/upgrade", "", Admin),
        ("GET", "/v1/audit", "/v1/audit?limit=1", "", Admin),
        ("GET", "/v1/blocks", "/v1/blocks", "", Admin),
        ("POST", "/v1/blocks", "/v1/blocks", "{}", Admin),
        ("DELETE", "/v1/blocks", "/v1/blocks?subject=nobody", "", Admin),
        ("GET", "/v1/tokens", "/v1/tokens", "", Admin),
        ("POST", "/v1/tokens", "/v1/tokens", "{}", Admin),
        ("DELETE", "/v1/tokens/{id}", "/v1/tokens/0000000000", "", Admin),
        ("POST", "/v1/tokens/{id}/rotate", "/v1/tokens/0000000000/rotate", "", Admin),
        ("PUT", "/v1/tokens/{id}/limits", "/v1/tokens/0000000000/limits", "{}", Admin),
        ("GET", "/v1/token", "/v1/token", "", Observe),
        ("POST", "/v1/join-tokens", "/v1/join-tokens", "{}", Admin),
        // They look at the join token that they are sent.
        ("GET", "/v1/authorities", "/v1/authorities", "", Nothing),
        ("POST", "/v1/join", "/v1/join", "{}", Nothing),
        ("POST", "/v1/join/certificate", "/v1/join/certificate", "{}", Nothing),
        ("POST", "/v1/login", "/v1/login", r#"{"wrong":1}"#, Nothing),
        ("DELETE", "/v1/login", "/v1/login", "", Nothing),
        ("GET", "/v1/snapshot", "/v1/snapshot", "", Admin),
        ("POST", "/v1/snapshot", "/v1/snapshot", "", Admin),
        ("GET", "/v1/introduction", "/v1/introduction", "", Nothing),
        ("GET", "/v1/openapi.json", "/v1/openapi.json", "", Nothing),
        ("GET", "/v1/debug/links", "/v1/debug/links", "", AdminHere),
        ("PUT", "/v1/debug/links", "/v1/debug/links", "{}", AdminHere),
        ("POST", "/v1/debug/corrupt", "/v1/debug/corrupt", r#"{"wrong":1}"#, AdminHere),
        ("GET", "/v1/status", "/v1/status", "", Observe),
        ("GET", "/livez", "/livez", "", Nothing),
        ("GET", "/readyz", "/readyz", "", Nothing),
        ("GET", "/metrics", "/metrics", "", Observe),
        ("GET", "/ping", "/ping", "", Nothing),
        ("GET", "/health", "/health", "", Nothing),
        ("GET", "/api/cache", "/api/cache", "", ReadAll),
        ("POST", "/api/cache", "/api/cache", put, Write),
        ("DELETE", "/api/cache", "/api/cache", "", WriteAll),
        ("DELETE", "/api/cache/", "/api/cache/", "", Nothing),
        ("GET", "/api/cache/bulk", "/api/cache/bulk", "", ReadAll),
        ("POST", "/api/cache/bulk", "/api/cache/bulk", r#"{"items":[{"key":"a/k","value":1}]}"#, Write),
        ("DELETE", "/api/cache/bulk", "/api/cache/bulk", "", WriteAll),
        ("GET", "/api/cache/{key}", "/api/cache/a%2Fk", "", Read),
        ("DELETE", "/api/cache/{key}", "/api/cache/a%2Fk", "", Write),
        ("POST", "/api/strategy", "/api/strategy", "{}", Admin),
        ("GET", "/api/metrics", "/api/metrics", "", Observe),
        ("GET", "/api/sync/status", "/api/sync/status", "", Observe),
        ("GET", "/api/sync/history", "/api/sync/history", "", ReadAll),
        ("POST", "/api/sync/force", "/api/sync/force", "", AdminHere),
        ("POST", "/api/sync/toggle", "/api/sync/toggle", "", AdminHere),
        ("ANY", "/api/{*rest}", "/api/none", "", Nothing),
    ]
}

/// Reads of what a node has, without asking another one: `GET` of this path, and what it needs.
pub const STALE_READS: [(&str, Needs); 5] = [
    ("/v1/kv/a%2Fk?consistency=stale", Needs::Read),
    ("/v1/keys?prefix=a%2F&consistency=stale", Needs::Read),
    ("/v1/keys?consistency=stale", Needs::ReadAll),
    ("/v1/digest/range?prefix=a%2Fk&consistency=stale", Needs::Read),
    ("/v1/config?consistency=stale", Needs::Observe),
];

/// Names of tokens, the role and the prefix of each, and what that allows.
pub const GRANTED: [(&str, &str, &str, &[Needs]); 7] = {
    use Needs::{Admin, AdminHere, Observe, Read, ReadAll, Write, WriteAll};
    [
        ("observe", "observe", "", &[Observe]),
        ("read a/", "read", "a/", &[Observe, Read]),
        ("read all", "read", "", &[Observe, Read, ReadAll]),
        ("read b/", "read", "b/", &[Observe]),
        ("write a/", "write", "a/", &[Observe, Read, Write]),
        ("write all", "write", "", &[Observe, Read, ReadAll, Write, WriteAll]),
        ("admin", "admin", "", &[Observe, Read, ReadAll, Write, WriteAll, Admin, AdminHere]),
    ]
};

/// With which status a node refuses whoever may do this much. What allows nothing is no good token.
pub fn refusal(needs: Needs, may: &[Needs]) -> Option<u16> {
    match (needs == Needs::Nothing || may.contains(&needs), may.is_empty()) {
        (true, _) => None,
        (false, true) => Some(401),
        (false, false) => Some(403),
    }
}
