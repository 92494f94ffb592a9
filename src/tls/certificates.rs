//! All certificates of a node, by the port that they are for.

use super::watched::Reload;
use std::sync::Arc;

/// What is read again when its files change. Clones share it.
#[derive(Clone, Default)]
pub struct Certificates(Vec<(&'static str, Arc<dyn Reload>)>);

impl Certificates {
    /// Adds those for the port of this name.
    pub fn add(&mut self, port: &'static str, certificates: impl Reload + 'static) {
        self.0.push((port, Arc::new(certificates)));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads all files again, and returns what has come of it for each port. This blocks.
    pub fn reload(&self) -> Vec<(&'static str, Result<bool, String>)> {
        self.0.iter().map(|(port, certificates)| (*port, certificates.reload())).collect()
    }

    /// The port of each, and when its first certificate expires, as seconds since 1970.
    pub fn expiries(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.0.iter().map(|(port, certificates)| (*port, certificates.expires_at()))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(port, _)| port)).finish()
    }
}
