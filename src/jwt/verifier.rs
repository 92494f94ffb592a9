//! Verifies tokens, with what is in the files.

use super::claims::{self, Expected, TOKEN_BYTES_MAX};
use super::crypto;
use super::grants::SubjectGrants;
use super::keys::Keys;
use crate::cache::grants_are_valid;
use crate::node::{Principal, Subject};
use crate::replica::wall_ms;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

/// Longest of the files, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Tokens that need not be verified again.
const VERIFIED_MAX: usize = 4_096;

/// Where the keys are, and what tokens must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtFiles {
    /// A JSON Web Key Set.
    pub keys: PathBuf,
    /// What subjects may do; otherwise the claim `lockstep` says it.
    pub grants: Option<PathBuf>,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or have.
    pub audience: String,
}

/// Verifies tokens. Clones share it.
#[derive(Debug, Clone)]
pub struct JwtVerifier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: JwtFiles,
    expected: Expected,
    current: RwLock<Arc<Current>>,
}

/// What the files hold.
#[derive(Debug)]
struct Current {
    keys: Keys,
    grants: Option<SubjectGrants>,
    digest: [u8; 32],
    /// By the digest of a token: what it came to. Other files make all of it void.
    verified: Mutex<HashMap<[u8; 32], Arc<Subject>>>,
}

impl JwtVerifier {
    /// Reads the files. This blocks.
    ///
    /// # Errors
    /// A sentence that names a file.
    pub fn open(files: JwtFiles) -> Result<Self, String> {
        crypto::install();
        let current = RwLock::new(Arc::new(Current::read(&files)?));
        let expected = Expected { issuer: files.issuer.clone(), audience: files.audience.clone() };
        Ok(Self(Arc::new(Shared { files, expected, current })))
    }

    /// Reads the files again. Returns whether they have changed. This blocks.
    ///
    /// # Errors
    /// A sentence: they cannot be used, and what they held before stays.
    pub fn reload(&self) -> Result<bool, String> {
        let renewed = Current::read(&self.0.files)?;
        let mut current = self.0.current.write().expect("no panic while held");
        let changed = current.digest != renewed.digest;
        if changed {
            *current = Arc::new(renewed);
        }
        Ok(changed)
    }

    /// Whoever a token speaks of. `None` if it is none, or is not good now.
    pub fn principal(&self, token: &str) -> Option<Principal> {
        // Anything else costs no digest.
        if token.len() > TOKEN_BYTES_MAX || token.matches('.').count() != 2 {
            return None;
        }
        let current = self.0.current.read().expect("no panic while held").clone();
        let (digest, now_ms) = (Sha256::digest(token).into(), wall_ms());
        let known = current.verified.lock().expect("no panic while held").get(&digest).cloned();
        let subject = match known {
            Some(subject) => subject,
            None => current.verify(token, &self.0.expected, digest, now_ms)?,
        };
        (subject.expires_at_ms > now_ms).then_some(Principal::Subject(subject))
    }
}

impl Current {
    fn read(files: &JwtFiles) -> Result<Self, String> {
        let (text, is_secret) = read(&files.keys)?;
        let keys = Keys::parse(&text).map_err(|reason| named(&files.keys, &reason))?;
        if keys.have_secret && !is_secret {
            return Err(named(&files.keys, &"it has a secret, and others can read it: chmod o= it"));
        }
        let mut digest = Sha256::new();
        digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(&text);
        let grants = match &files.grants {
            None => None,
            Some(path) => {
                let (text, _) = read(path)?;
                digest.update(&text);
                Some(SubjectGrants::parse(&text).map_err(|reason| named(path, &reason))?)
            }
        };
        Ok(Self { keys, grants, digest: digest.finalize().into(), verified: Mutex::default() })
    }

    fn verify(
        &self,
        token: &str,
        expected: &Expected,
        digest: [u8; 32],
        now_ms: u64,
    ) -> Option<Arc<Subject>> {
        let claims = claims::verify(token, &self.keys, expected, now_ms)?;
        let expires_at_ms = claims.expires_at_ms();
        let grants = match &self.grants {
            Some(rules) => rules.of(&claims.subject)?,
            None => claims.grants.unwrap_or_default(),
        };
        if !grants.is_empty() && !grants_are_valid(&grants) {
            return None;
        }
        let subject = Subject { name: claims.subject, jwt_id: claims.jwt_id, expires_at_ms, grants };
        let subject = Arc::new(subject);
        let mut verified = self.verified.lock().expect("no panic while held");
        if verified.len() >= VERIFIED_MAX {
            verified.retain(|_, subject| subject.expires_at_ms > now_ms);
        }
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(digest, subject.clone());
        Some(subject)
    }
}

/// The bytes of a file, and whether its owner and group alone can read it.
fn read(path: &Path) -> Result<(Vec<u8>, bool), String> {
    let file = File::open(path).map_err(|error| named(path, &error))?;
    let mode = file.metadata().map_err(|error| named(path, &error))?.permissions().mode();
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| named(path, &error))?;
    match text.len() as u64 <= FILE_BYTES_MAX {
        true => Ok((text, mode & 0o007 == 0)),
        false => Err(named(path, &"it is too long")),
    }
}

fn named(path: &Path, reason: &dyn std::fmt::Display) -> String {
    format!("{}: {reason}", path.display())
}
