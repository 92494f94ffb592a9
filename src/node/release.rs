//! The protocols and formats that one release of Lockstep knows.

use crate::cache::limits::FEATURE_LEVEL;
use crate::peer::Protocols;

/// A release, as peers and operators see it. Every node runs [`Release::THIS`]; a test of a rolling upgrade gives some
/// nodes an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    pub version: &'static str,
    pub protocols: Protocols,
    /// The newest feature level that it knows. A log entry of a later level stops the node.
    pub feature_level: u32,
}

impl Release {
    /// This program.
    pub const THIS: Self =
        Self { version: env!("CARGO_PKG_VERSION"), protocols: Protocols::THIS, feature_level: FEATURE_LEVEL };
}
