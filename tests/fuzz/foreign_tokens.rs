//! Tokens that others sign, the keys for them, and what their subjects may do.

use crate::jwt::{key, token, write_keys};
use crate::targets::Target;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockstep::jwt::{JwtFiles, JwtVerifier};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const SECRET: [u8; 32] = [7; 32];

/// A secret, and keys of other kinds.
fn keys() -> [Value; 4] {
    let point = URL_SAFE_NO_PAD.encode([9; 32]);
    [
        key(&SECRET),
        json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": point, "y": point, "use": "sig"}),
        json!({"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": point, "key_ops": ["verify"]}),
        json!({"kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "AQAB"}),
    ]
}

fn files(dir: &Path, name: &str) -> JwtFiles {
    let file = dir.join(format!("{name}.json"));
    write_keys(&file, &keys());
    JwtFiles { keys: file, grants: None, issuer: "us".into(), audience: "lockstep".into() }
}

pub fn foreign_tokens(dir: &Path) -> Vec<Target> {
    let verifier = JwtVerifier::open(files(dir, "jwt")).expect("good files");
    let good = token(&SECRET, &json!({"jti": "1", "lockstep": [{"role": "read", "prefix": "a/"}]}));
    let sample = good.clone();
    let tokens = Target::text("JWT", &[&good], move |text| match verifier.principal(text) {
        Some(_) if text != sample => Err("a token that nobody has signed is good".into()),
        found => Ok(found.is_some()),
    });
    let magic: &[&[u8]] = &[b".", b"..", b"eyJhbGciOiJub25lIn0", b"="];
    let tokens = Target { magic, bytes_fixed: 64 * 1024, bytes_each: 64, ..tokens };

    let set = files(dir, "keys");
    let (file, sample) = (set.keys.clone(), fs::read(&set.keys).expect("written"));
    let keys = Target::new("JWKS", vec![sample], move |bytes| {
        fs::write(&file, bytes).expect("written");
        Ok(JwtVerifier::open(set.clone()).is_ok())
    });
    let file = dir.join("grants.json");
    let rules = json!([{"subject": "shop:*", "grants": [{"role": "read", "prefix": "price:"}]}]).to_string();
    let set = JwtFiles { grants: Some(file.clone()), ..files(dir, "keys-of-subjects") };
    let subjects = Target::new("JWT grants", vec![rules.into_bytes()], move |bytes| {
        fs::write(&file, bytes).expect("written");
        Ok(JwtVerifier::open(set.clone()).is_ok())
    });
    let magic: &[&[u8]] =
        &[b"{", b"}", b"[", b"]", b"\"kty\":\"oct\"", b"\"crv\":\"P-384\"", b"*", b"\"alg\":\"none\""];
    let of_files = |target| Target { weight: 1, magic, bytes_fixed: 128 * 1024, bytes_each: 512, ..target };
    vec![tokens, of_files(keys), of_files(subjects)]
}
