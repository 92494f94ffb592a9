//! JSON Web Tokens for tests, signed with a shared secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A token from `us` for `lockstep` about `app`, good for an hour, with these changes to its claims.
pub fn token(secret: &[u8], changes: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = json!({"iss": "us", "aud": "lockstep", "sub": "app", "iat": now, "exp": now + 3_600});
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "k"})), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The key that verifies them.
pub fn key(secret: &[u8]) -> Value {
    json!({"kty": "oct", "kid": "k", "k": URL_SAFE_NO_PAD.encode(secret)})
}

/// Writes a set of keys that others cannot read.
pub fn write_keys(file: &Path, keys: &[Value]) {
    fs::write(file, json!({"keys": keys}).to_string()).expect("written");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("it is ours");
}
