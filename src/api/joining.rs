//! Joining a cluster with a join token: for a certificate, and for the membership.

use super::tokens::TokenText;
use crate::cache::is_token_id;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a join token begins with, so that scanners of repositories and logs know one when they see it.
const START: &str = "lsj_";
/// Hexadecimal digits of SHA-256.
const PIN_DIGITS: usize = 64;
/// A secret has 256 random bits, in base64url.
const SECRET_LETTERS: usize = 43;

/// A whole join token, as its holder keeps it: `lsj_<pin>_<id>_<secret>`. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinTokenText {
    /// SHA-256 of the public key of the authority that the joining node may believe, in hexadecimal digits.
    pub pin: String,
    pub id: String,
    pub secret: String,
}

impl JoinTokenText {
    /// `None` if it is none.
    pub fn parse(text: &TokenText) -> Option<Self> {
        // A secret may have an underscore itself.
        let mut parts = text.reveal().strip_prefix(START)?.splitn(3, '_').map(str::to_owned);
        let (pin, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let is_pin = pin.len() == PIN_DIGITS && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_secret = secret.len() == SECRET_LETTERS && secret.bytes().all(|byte| byte.is_ascii_graphic());
        (is_pin && is_token_id(&id) && is_secret).then_some(Self { pin, id, secret })
    }

    pub fn text(&self) -> TokenText {
        let Self { pin, id, secret } = self;
        TokenText::new(format!("{START}{pin}_{id}_{secret}"))
    }
}

impl fmt::Debug for JoinTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTokenText({})", self.id)
    }
}

/// Body of `POST /v1/join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// The name of the node that may join.
    pub node: String,
    /// Host names and addresses at which clients will reach it.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How long it is good, in milliseconds: an hour at most.
    pub ttl_ms: u64,
}

/// What is known of a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenInfo {
    pub id: String,
    pub node: String,
    pub hosts: Vec<String>,
    /// Log time, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// Whether a key has a certificate through it: no other key gets one.
    pub certified: bool,
    /// Whether a data folder has asked to become a member with it: no other one can.
    pub claimed: bool,
}

/// Answer of `GET /v1/authorities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// The certificates of those who sign the certificates of nodes, in PEM.
    pub authorities: String,
}

/// Body of `POST /v1/join/certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignCertificate {
    /// A certificate signing request in PEM. Only its key counts.
    pub request: String,
}

/// Answer of `POST /v1/join/certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCertificate {
    /// The name that it is for.
    pub node: String,
    /// The certificate, in PEM.
    pub certificate: String,
    /// As in [`Authorities`].
    pub authorities: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_text_and_not_shown() {
        let secret = format!("{}_-{}", "s".repeat(20), "t".repeat(21));
        let token = JoinTokenText { pin: "0a".repeat(32), id: "abcdefghi0".into(), secret };
        let text = token.text();
        assert_eq!(JoinTokenText::parse(&text), Some(token.clone()));
        assert!(!format!("{token:?}").contains("ss"));
        let text = text.reveal();
        for wrong in ["", "lsj_", &text[1..], &text[..text.len() - 1], &format!("{text}x")] {
            assert_eq!(JoinTokenText::parse(&TokenText::new(wrong)), None, "{wrong}");
        }
        for (from, to) in
            [("0a0a", "0g0a"), ("abcdefghi0", "abcdefghi\u{e4}"), ("lsj_", "lsk_"), ("tt", "t ")]
        {
            assert_eq!(JoinTokenText::parse(&TokenText::new(text.replacen(from, to, 1))), None, "{to}");
        }
    }
}
