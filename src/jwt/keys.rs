//! The keys that signatures are verified with: a JSON Web Key Set (RFC 7517).
//!
//! The algorithm is the key's, never the token's: a token that could choose it would have a public key taken for a shared secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Most keys in a set.
const KEYS_MAX: usize = 64;
/// Shortest secret, in bytes: as long as the digest (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest modulus, in bytes: 2,048 bits (RFC 7518, 3.3).
const MODULUS_BYTES_MIN: usize = 256;

/// The keys of a set that can verify signatures.
#[derive(Debug)]
pub(super) struct Keys {
    all: Vec<Key>,
    /// Whether one of them is a secret, which signs as well.
    pub have_secret: bool,
}

#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// # Errors
    /// A sentence: it is no set of keys, or no key in it can be used.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Set =
            serde_json::from_slice(text).map_err(|_| "no JSON Web Key Set (RFC 7517)".to_owned())?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("it has {} keys; at most {KEYS_MAX} are expected", set.keys.len()));
        }
        let mut all: Vec<Key> = Vec::new();
        for (position, value) in set.keys.into_iter().enumerate() {
            let Some(key) = Key::of(value).map_err(|reason| format!("key {position}: {reason}"))? else {
                continue;
            };
            if all.iter().any(|other| other.id == key.id && other.algorithm == key.algorithm) {
                return Err(format!("key {position}: another one has the same `kid`"));
            }
            all.push(key);
        }
        if all.is_empty() {
            return Err("no key in it is for HS256, RS256, ES256 or EdDSA".into());
        }
        let have_secret = all.iter().any(|key| key.algorithm == Algorithm::HS256);
        Ok(Self { all, have_secret })
    }

    /// The key that a token names. One without a name is for a set of one key.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        match (id, &self.all[..]) {
            (None, [only]) => Some(only).filter(|key| key.algorithm == algorithm),
            (None, _) => None,
            (Some(id), all) => {
                all.iter().find(|key| key.id.as_deref() == Some(id) && key.algorithm == algorithm)
            }
        }
    }
}

impl Key {
    /// `None` for a key that is for something else: sets of others have such keys.
    fn of(value: serde_json::Value) -> Result<Option<Self>, String> {
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { return Ok(None) };
        let is_other_use = |it: &PublicKeyUse| *it != PublicKeyUse::Signature;
        let is_for_others = jwk.common.public_key_use.as_ref().is_some_and(is_other_use)
            || jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify));
        let Some(algorithm) = algorithm_of(&jwk).filter(|_| !is_for_others) else { return Ok(None) };
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "no base64url".to_owned());
        match &jwk.algorithm {
            AlgorithmParameters::OctetKey(secret) if decoded(&secret.value)?.len() < SECRET_BYTES_MIN => {
                return Err(format!("a secret of less than {SECRET_BYTES_MIN} bytes can be guessed"));
            }
            AlgorithmParameters::RSA(key) if decoded(&key.n)?.len() < MODULUS_BYTES_MIN => {
                return Err("an RSA key of less than 2048 bits can be broken".into());
            }
            AlgorithmParameters::EllipticCurve(key)
                if decoded(&key.x)?.len() != 32 || decoded(&key.y)?.len() != 32 =>
            {
                return Err("no point of the curve P-256".into());
            }
            AlgorithmParameters::OctetKeyPair(key) if decoded(&key.x)?.len() != 32 => {
                return Err("no point of the curve Ed25519".into());
            }
            _ => {}
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "its numbers cannot be read".to_owned())?;
        Ok(Some(Self { id: jwk.common.key_id, algorithm, key }))
    }
}

/// The one that the key says it is for, if its kind is right for it; without `alg` that of its kind.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|it| it == named).then_some(algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(id: &str, bytes: usize) -> Value {
        json!({"kty": "oct", "kid": id, "k": URL_SAFE_NO_PAD.encode(vec![7; bytes])})
    }

    fn parse(keys: Value) -> Result<Keys, String> {
        Keys::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn a_key_decides_its_algorithm() {
        let keys = parse(json!([secret("a", 32), secret("b", 64)])).expect("two secrets");
        assert!(keys.have_secret);
        assert!(keys.find(Some("a"), Algorithm::HS256).is_some());
        for (id, algorithm) in [
            (Some("a"), Algorithm::RS256),
            (Some("a"), Algorithm::HS512),
            (Some("c"), Algorithm::HS256),
            (None, Algorithm::HS256),
        ] {
            assert!(keys.find(id, algorithm).is_none(), "{id:?} {algorithm:?}");
        }
        let one = parse(json!([secret("a", 32)])).expect("a secret");
        assert!(one.find(None, Algorithm::HS256).is_some() && one.find(None, Algorithm::EdDSA).is_none());
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let mut encrypts = secret("b", 32);
        encrypts["use"] = "enc".into();
        let mut longer = secret("c", 64);
        longer["alg"] = "HS512".into();
        let strange = json!({"kty": "AKP", "kid": "d", "alg": "ML-DSA-44", "pub": "AAAA"});
        let large = json!({"kty": "EC", "crv": "P-384", "kid": "e", "x": "AAAA", "y": "AAAA"});
        let keys = parse(json!([secret("a", 32), encrypts, longer, strange, large])).expect("one of them");
        assert_eq!(keys.all.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let short_rsa = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB"});
        let short_point = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"});
        for (keys, says) in [
            (json!([]), "no key"),
            (json!([secret("a", 31)]), "less than 32 bytes"),
            (json!([short_rsa]), "2048 bits"),
            (json!([short_point]), "P-256"),
            (json!([{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]), "Ed25519"),
            (json!([secret("a", 32), secret("a", 33)]), "same `kid`"),
            (json!([{"kty": "oct", "k": "?"}]), "base64url"),
            (Value::Array((0..=KEYS_MAX).map(|id| secret(&id.to_string(), 32)).collect()), "at most 64"),
        ] {
            let refused = parse(keys).expect_err(says);
            assert!(refused.contains(says), "{refused}");
        }
        assert!(Keys::parse(b"[]").is_err() && Keys::parse(b"").is_err());
    }
}
