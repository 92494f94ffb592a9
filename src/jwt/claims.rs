//! What a token says about who asks, and whether that holds now.

use super::keys::Keys;
use crate::cache::Grant;
use crate::cache::limits::{BLOCKED_BYTES_MAX, JWT_LIFE_MS_MAX};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Longest token, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far the clocks of the signer and of this node may differ, in seconds.
pub(super) const LEEWAY_S: u64 = 30;

/// Who signs, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub issuer: String,
    pub audience: String,
}

/// The claims that count here (RFC 7519, 4.1). `iss` and `aud` are checked by the library.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "sub")]
    pub subject: String,
    #[serde(rename = "jti")]
    pub jwt_id: Option<String>,
    #[serde(rename = "exp")]
    expires_at: Number,
    #[serde(rename = "iat")]
    issued_at: Option<Number>,
    /// What the signer allows, unless the operator's file says it.
    #[serde(rename = "lockstep")]
    pub grants: Option<Vec<Grant>>,
}

impl Claims {
    /// In milliseconds since 1970: from then on the token is refused.
    pub fn expires_at_ms(&self) -> u64 {
        seconds(&self.expires_at).saturating_add(LEEWAY_S).saturating_mul(1_000)
    }
}

/// A time as claims have it: seconds, which may have a fraction.
fn seconds(number: &Number) -> u64 {
    number.as_u64().unwrap_or_else(|| number.as_f64().map_or(0, |seconds| seconds.max(0.0) as u64))
}

/// The claims of a token whose signature is good and that is good now. `None`: whoever guesses learns nothing from which it was.
pub(super) fn verify(token: &str, keys: &Keys, expected: &Expected, now_ms: u64) -> Option<Claims> {
    let (key, algorithm) = key_of(token, keys)?;
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_S;
    // The library's default is not to look at it.
    validation.validate_nbf = true;
    validation.set_issuer(&[&expected.issuer]);
    validation.set_audience(&[&expected.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims: Claims = decode(token, key, &validation).ok()?.claims;
    let is_text =
        |text: &str| (1..=BLOCKED_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    (is_text(&claims.subject)
        && claims.jwt_id.as_deref().is_none_or(is_text)
        && lives_shortly(&claims, now_ms / 1_000))
    .then_some(claims)
}

/// Whether a token that is stolen, or blocked by its id, is good for a day at most.
fn lives_shortly(claims: &Claims, now: u64) -> bool {
    let (expires_at, life) = (seconds(&claims.expires_at), JWT_LIFE_MS_MAX / 1_000);
    let was_issued_well = |issued_at: &Number| {
        let issued_at = seconds(issued_at);
        issued_at <= now + LEEWAY_S && expires_at <= issued_at.saturating_add(life)
    };
    expires_at <= now.saturating_add(life + LEEWAY_S) && claims.issued_at.as_ref().is_none_or(was_issued_well)
}

/// The head of a token (RFC 7515, 4.1). Keys that it brings along, and where to find some (`jwk`, `jku`, `x5c`, `x5u`), are ignored.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood; none are.
    crit: Option<Value>,
    #[serde(flatten)]
    _others: BTreeMap<String, Value>,
}

/// The key that a token names, and its algorithm.
fn key_of<'a>(token: &str, keys: &'a Keys) -> Option<(&'a jsonwebtoken::DecodingKey, Algorithm)> {
    let (head, _) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
    let Head { alg, kid, typ, crit, .. } =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    // A token for something else, as one that logs somebody in somewhere, has another type (RFC 8725, 3.11).
    let is_right = |typ: &str| ["jwt", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known));
    if crit.is_some() || !typ.as_deref().is_none_or(is_right) {
        return None;
    }
    let key = keys.find(kid.as_deref(), alg.parse().ok()?)?;
    Some((&key.key, key.algorithm))
}

/// Whether the signature of a token is good, whatever it says.
#[cfg(test)]
pub(super) fn is_signed(token: &str, keys: &Keys) -> bool {
    let Some((key, algorithm)) = key_of(token, keys) else { return false };
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let claims = message.split('.').nth(1).unwrap_or_default();
    token.matches('.').count() == 2
        // What they say is read after this, so it must be readable.
        && URL_SAFE_NO_PAD.decode(claims).is_ok()
        && jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Role;
    use ring::hmac;
    use serde_json::json;

    const SECRET: [u8; 32] = [7; 32];

    fn keys() -> Keys {
        let key = json!({"kty": "oct", "kid": "k", "k": URL_SAFE_NO_PAD.encode(SECRET)});
        Keys::parse(json!({"keys": [key]}).to_string().as_bytes()).expect("a secret")
    }

    /// A token with these parts, signed as HS256 whatever it says.
    fn signed(head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(head), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn head() -> Value {
        json!({"alg": "HS256", "kid": "k", "typ": "JWT"})
    }

    /// Good from now on. The library looks at the clock of this machine.
    fn claims() -> Value {
        let now = now();
        json!({"iss": "us", "aud": "lockstep", "sub": "app", "exp": now + 3_600, "iat": now})
    }

    fn now() -> u64 {
        crate::replica::wall_ms() / 1_000
    }

    fn verified(token: &str) -> Option<Claims> {
        let expected = Expected { issuer: "us".into(), audience: "lockstep".into() };
        crate::jwt::crypto::install();
        verify(token, &keys(), &expected, now() * 1_000)
    }

    fn with(mut value: Value, changes: &Value) -> Value {
        for (name, change) in changes.as_object().expect("an object") {
            match change {
                Value::Null => drop(value.as_object_mut().expect("an object").remove(name)),
                change => value[name] = change.clone(),
            }
        }
        value
    }

    #[test]
    fn a_good_token_says_who_asks() {
        let grants = json!([{"role": "write", "prefix": "a/"}]);
        let more =
            json!({"jti": "7", "lockstep": grants, "exp": now() as f64 + 10.5, "aud": ["x", "lockstep"]});
        let found = verified(&signed(&head(), &with(claims(), &more))).expect("good");
        assert_eq!((found.subject.as_str(), found.jwt_id.as_deref()), ("app", Some("7")));
        assert_eq!(found.expires_at_ms(), (now() + 10 + LEEWAY_S) * 1_000);
        let grants = found.grants.expect("a grant");
        assert_eq!((grants[0].role, grants[0].prefix.as_str()), (Role::Write, "a/"));
        for head in
            [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": "k", "typ": "at+JWT", "jku": "http://x"})]
        {
            assert!(verified(&signed(&head, &claims())).is_some(), "{head}");
        }
    }

    #[test]
    fn what_is_wrong_about_a_token_refuses_it() {
        let now = now();
        for change in [
            json!({"exp": null}),
            json!({"exp": now - LEEWAY_S - 2}),
            json!({"exp": (now + 60).to_string()}),
            json!({"exp": -1}),
            json!({"exp": now + 24 * 3_600 + 600, "iat": null}),
            json!({"exp": now + 3_600, "iat": now - 24 * 3_600}),
            json!({"iat": now + 3_000}),
            json!({"iat": "yesterday"}),
            json!({"nbf": now + LEEWAY_S + 5}),
            json!({"nbf": "0"}),
            json!({"iss": null}),
            json!({"iss": "them"}),
            json!({"iss": "US"}),
            json!({"aud": null}),
            json!({"aud": "other"}),
            json!({"aud": ["other"]}),
            json!({"aud": []}),
            json!({"aud": "lockstep "}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": 5}),
            json!({"sub": "a\nb"}),
            json!({"sub": "x".repeat(BLOCKED_BYTES_MAX + 1)}),
            json!({"jti": ""}),
            json!({"jti": "x".repeat(BLOCKED_BYTES_MAX + 1)}),
            json!({"lockstep": "admin"}),
            json!({"lockstep": [{"role": "root"}]}),
        ] {
            assert!(verified(&signed(&head(), &with(claims(), &change))).is_none(), "{change}");
        }
        for change in [
            json!({"alg": null}),
            json!({"alg": "none"}),
            json!({"alg": "HS512"}),
            json!({"alg": "RS256"}),
            json!({"alg": "hs256"}),
            json!({"kid": "other"}),
            json!({"kid": 5}),
            json!({"typ": "JOSE"}),
            json!({"typ": "dpop+jwt"}),
            json!({"crit": ["exp"]}),
            json!({"crit": []}),
            json!({"crit": ["b64"], "b64": false}),
        ] {
            assert!(verified(&signed(&with(head(), &change), &claims())).is_none(), "{change}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = signed(&head(), &claims());
        assert!(verified(&good).is_some());
        let (message, signature) = good.rsplit_once('.').expect("three parts");
        let (first, second) = message.split_once('.').expect("two parts");
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for wrong in [
            String::new(),
            "..".into(),
            message.into(),
            format!("{message}."),
            format!("{none}.{second}."),
            format!("{good}="),
            format!("{good}."),
            format!("{good}.{signature}"),
            format!(" {good}"),
            format!("{first}.{second}x.{signature}"),
            format!("{message}.{}", signature.to_lowercase()),
            format!("{message}.{}", &signature[1..]),
            format!("{first}.{}.{signature}", "A".repeat(1 << 20)),
        ] {
            assert!(verified(&wrong).is_none(), "{}", &wrong[..wrong.len().min(200)]);
        }
        // Each letter counts, but for the last bits of the signature, which no byte has.
        for position in 0..good.len() - 1 {
            let mut other = good.clone().into_bytes();
            other[position] = if other[position] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("letters");
            assert!(other == good || verified(&other).is_none(), "letter {position}");
        }
    }

    /// The vectors of Project Wycheproof. Those of algorithms that are not taken here are refused, too.
    #[test]
    fn signatures_are_judged_as_wycheproof_says() {
        crate::jwt::crypto::install();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/json_web_signature_test.json");
        let vectors: Value =
            serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON");
        let (mut taken, mut refused) = (0, 0);
        for group in vectors["testGroups"].as_array().expect("groups") {
            let key = group.get("public").or(group.get("private")).expect("a key");
            let keys = Keys::parse(json!({"keys": [key]}).to_string().as_bytes()).ok();
            let is_known = ["HS256", "RS256", "ES256"].iter().any(|known| key["alg"] == *known);
            for test in group["tests"].as_array().expect("tests") {
                let token = test["jws"].as_str().unwrap_or_default();
                // These two are to have padding, and have none: they are one good token.
                let is_mislabelled = [367, 370].iter().any(|id| test["tcId"] == *id);
                // Two good ones have characters in between that are none of base64url. They are refused here.
                let is_clean = token.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                let wanted = (test["result"] == "valid" && is_clean || is_mislabelled) && is_known;
                let is_good = keys.as_ref().is_some_and(|keys| is_signed(token, keys));
                assert_eq!(is_good, wanted, "{test}");
                *if wanted { &mut taken } else { &mut refused } += 1;
            }
        }
        assert_eq!((taken, taken + refused), (20, vectors["numberOfTests"].as_u64().expect("a number")));
    }
}
