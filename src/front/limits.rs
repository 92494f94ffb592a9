//! Limits of what clients use of a node together, whichever front door they come through.

use super::rate_limits::RateSettings;

/// Limits of all front doors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontLimits {
    /// Connections at a time.
    pub connections: usize,
    /// How many of them one address can have; `None` is half.
    pub connections_per_address: Option<u32>,
    /// What one address may ask for in how long.
    pub rates: RateSettings,
    /// Largest value, in bytes.
    pub value_bytes: usize,
    /// Bytes of all request bodies that are being received or processed.
    pub body_memory: usize,
    /// Bytes of all large answers that are being made or sent.
    pub answer_memory: usize,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: None,
            rates: RateSettings::default(),
            value_bytes: 1024 * 1024,
            body_memory: 256 * 1024 * 1024,
            answer_memory: 256 * 1024 * 1024,
        }
    }
}
