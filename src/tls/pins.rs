//! Which key somebody has: SHA-256 of the public key's `SubjectPublicKeyInfo` (RFC 7469, 2.4). It stays the same when a
//! certificate is renewed for the same key.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use x509_parser::parse_x509_certificate;

/// The digest of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// The digest of this `SubjectPublicKeyInfo`, in DER.
pub(super) fn pin_of(key_info: &[u8]) -> Pin {
    Pin(Sha256::digest(key_info).into())
}

impl Pin {
    /// The key of a certificate.
    ///
    /// # Errors
    /// A sentence: it is none.
    pub fn of_certificate(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(der).map_err(|error| format!("no certificate: {error}"))?;
        Ok(pin_of(parsed.public_key().raw))
    }

    /// Of 64 hexadecimal digits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)).filter(|_| is_hex) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        is_hex.then_some(Self(bytes))
    }

    /// As 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_64_hexadecimal_digits() {
        let pin = pin_of(b"key");
        assert_eq!(Pin::of_hex(&pin.hex()), Some(pin));
        for wrong in ["", &pin.hex()[1..], &format!("{}0", pin.hex()), &"ä".repeat(32), &"+1".repeat(32)] {
            assert_eq!(Pin::of_hex(wrong), None, "{wrong}");
        }
    }
}
