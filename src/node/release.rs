//! What one build of Lockstep can read, write and speak.

use crate::cache::limits::FEATURE_LEVEL;
use crate::peer::Protocols;

/// A build, as its peers and operators see it. Every node runs [`Release::THIS`]; a test of a rolling upgrade gives some
/// nodes what an older build would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    pub version: &'static str,
    pub protocols: Protocols,
    /// The newest feature level that it knows. A log entry of a later one stops the node.
    pub feature_level: u32,
}

impl Release {
    /// This program.
    pub const THIS: Self =
        Self { version: env!("CARGO_PKG_VERSION"), protocols: Protocols::THIS, feature_level: FEATURE_LEVEL };
}
