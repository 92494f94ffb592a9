//! The HTTP client below ours: which proxies, redirects and certificates it knows.

use crate::tls::{ClientTls, no_certificates};
use reqwest::redirect::Policy;
use rustls::ClientConfig;

/// An HTTP client that asks nobody but whom it was told to: redirects would carry a token elsewhere.
pub(super) fn http_builder(tls: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).tls_backend_preconfigured(tls)
}

/// An HTTP client for plain HTTP, to which the caller adds its own settings.
pub fn plain_http() -> reqwest::ClientBuilder {
    http_builder(no_certificates())
}

/// What requests to these URLs need. Certificates are read only where a URL needs them.
pub(super) fn tls_for(urls: &[String], tls: &ClientTls) -> Result<ClientConfig, String> {
    match urls.iter().any(|url| is_https(url)) {
        true => tls.config(),
        false => Ok(no_certificates()),
    }
}

pub(super) fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}
