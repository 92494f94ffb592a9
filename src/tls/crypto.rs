//! The cryptography behind TLS.

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use std::sync::{Arc, LazyLock};

static RING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// The algorithms that this program uses.
pub(super) fn provider() -> Arc<CryptoProvider> {
    RING.clone()
}
