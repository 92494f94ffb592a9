//! How a node that has a join token, and nothing else, gets a certificate.
//!
//! It cannot know yet whom it talks to. So it asks for the authorities first, believes the one whose key its token names, and shows
//! the token to whoever has a certificate of that one. Somebody in between, or at the wrong address, gets nothing.

use super::bootstrap::short;
use super::bounded::{SMALL_BYTES_MAX, read_up_to};
use super::builder::{http_builder, is_https};
use super::http::TRY_TIMEOUT;
use super::token::ClientToken;
use crate::api::{Authorities, ErrorCode, JoinTokenText, Problem, SignCertificate, SignedCertificate};
use crate::tls::{Pin, certificates_in, of_anybody, of_authority};
use reqwest::{RequestBuilder, header};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a cluster is waited for that does not answer, or has no leader.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Gets a certificate for the key of a signing request, in PEM, from the node at this URL.
///
/// # Errors
/// A sentence. The token may have been used for this key; the same request can be repeated.
pub async fn certificate(
    url: &str,
    token: &JoinTokenText,
    request: &str,
) -> Result<SignedCertificate, String> {
    if !is_https(url) {
        return Err(format!("{url}: a join token is shown over HTTPS only"));
    }
    let begun = Instant::now();
    loop {
        let (reason, may_pass) = match try_once(url.trim_end_matches('/'), token, request).await {
            Ok(signed) => return Ok(signed),
            Err(failed) => failed,
        };
        if !may_pass || begun.elapsed() >= PATIENCE {
            return Err(format!("{url}: {reason}"));
        }
        tracing::info!("no certificate yet: {reason}");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// An error comes with whether it may pass.
async fn try_once(
    url: &str,
    token: &JoinTokenText,
    request: &str,
) -> Result<SignedCertificate, (String, bool)> {
    let lasting = |reason: String| (reason, false);
    let Authorities { authorities } =
        answer(client(of_anybody())?.get(format!("{url}/v1/authorities"))).await?;
    let known = named_by(token, &authorities).map_err(lasting)?;
    let shown = ClientToken::new(&token.text()).map_err(lasting)?;
    let body = SignCertificate { request: request.to_owned() };
    let asking = client(of_authority(known).map_err(lasting)?)?.post(format!("{url}/v1/join/certificate"));
    answer(asking.header(header::AUTHORIZATION, shown.header()).json(&body)).await
}

/// The one among these certificates whose key the token names.
fn named_by(token: &JoinTokenText, authorities: &str) -> Result<CertificateDer<'static>, String> {
    let pin = Pin::of_hex(&token.pin).ok_or("the join token names no key")?;
    let is_named = |der: &CertificateDer<'_>| Pin::of_certificate(der).is_ok_and(|own| own == pin);
    let named = certificates_in(authorities)?.into_iter().find(is_named);
    let missing = "no authority that this node knows has the key that the join token names: it is another cluster, or somebody \
                   in between";
    named.ok_or_else(|| missing.into())
}

fn client(tls: ClientConfig) -> Result<reqwest::Client, (String, bool)> {
    http_builder(tls).timeout(TIMEOUT).build().map_err(|error| (error.to_string(), false))
}

/// Whether whoever answers has no certificate that is believed. That does not pass.
fn is_distrust(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // Errors of input and output leave out the one that they wrap.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    false
}

async fn answer<T: DeserializeOwned>(asking: RequestBuilder) -> Result<T, (String, bool)> {
    let response = asking.send().await.map_err(|error| (short(&error), !is_distrust(&error)))?;
    let status = response.status();
    let body = read_up_to(response, SMALL_BYTES_MAX, TRY_TIMEOUT).await.unwrap_or_default();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| (error.to_string(), false));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => {
            let may_pass = problem.code != ErrorCode::Unauthorized && problem.code.retry_is_safe(true);
            Err((problem.detail, may_pass))
        }
        Err(_) => Err((format!("answered {status}"), false)),
    }
}
