//! A token as a client shows it.

use crate::api::TokenText;
use reqwest::header::HeaderValue;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest token file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientToken(HeaderValue);

impl ClientToken {
    /// # Errors
    /// A sentence that does not repeat it.
    pub fn new(token: &TokenText) -> Result<Self, String> {
        let text = token.reveal();
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| is_token);
        let mut value = value.ok_or("this is no token: a token is one word, like lsk_…")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The token in a file.
    ///
    /// # Errors
    /// A sentence.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        Self::new(&read_token_file(path)?).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    /// Whether it is a join token.
    pub(super) fn is_for_joining(&self) -> bool {
        self.header_bytes().starts_with(b"Bearer lsj_")
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// What a request line by line has after `authorization: `.
    pub fn header_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The token in a file that nobody but its owner and group can read.
///
/// # Errors
/// A sentence.
pub fn read_token_file(path: &Path) -> Result<TokenText, String> {
    let named = |reason: &dyn fmt::Display| format!("{}: {reason}", path.display());
    let found = fs::metadata(path).map_err(|error| named(&error))?;
    if found.permissions().mode() & 0o007 != 0 {
        return Err(named(&"others can read this token: chmod o= it"));
    }
    if found.len() > FILE_BYTES_MAX {
        return Err(named(&"it is too long for a file with a token"));
    }
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    Ok(TokenText::new(text.trim()))
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        fs::write(&path, "lsk_a_b\n").expect("written");
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            ClientToken::of_file(&path)
        };
        assert!(read(0o644).expect_err("others can read it").contains("others"));
        let token = read(0o640).expect("a token");
        assert_eq!(token.header_bytes(), b"Bearer lsk_a_b");
        assert!(!format!("{token:?}").contains("lsk"));
        for wrong in ["", "a b", "\u{e4}"] {
            assert!(ClientToken::new(&TokenText::new(wrong)).is_err(), "{wrong}");
        }
    }
}
