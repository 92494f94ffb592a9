//! The web pages of other sites that may use this node: those of `FRONTEND_URL`.

use super::hosts::host_of;
use axum::http::{HeaderValue, Uri};

const DEFAULT_URL: &str = "http://localhost:3000";

/// Origins whose pages may use this node, besides its own pages.
#[derive(Debug, Clone)]
pub struct Frontends {
    origins: Vec<HeaderValue>,
    /// Whether the operator has named them.
    named: bool,
}

impl Default for Frontends {
    fn default() -> Self {
        Self { origins: vec![HeaderValue::from_static(DEFAULT_URL)], named: false }
    }
}

impl Frontends {
    /// One URL or several, with commas; `None` if the operator has named none.
    ///
    /// # Errors
    /// A sentence, if a URL is none.
    pub(super) fn parse(urls: Option<&str>) -> Result<Self, String> {
        let named = urls.filter(|urls| !urls.trim().is_empty());
        let urls = named.unwrap_or(DEFAULT_URL).split(',').map(str::trim).filter(|url| !url.is_empty());
        let origins = urls.map(origin).collect::<Result<Vec<HeaderValue>, String>>()?;
        Ok(Self { origins, named: named.is_some() })
    }

    /// Origins whose pages may use the `/api` routes.
    pub(super) fn origins(&self) -> &[HeaderValue] {
        &self.origins
    }

    /// Whether the operator has named them.
    pub(super) fn are_named(&self) -> bool {
        self.named
    }

    /// Whether the operator has named this origin. The default is good for `/api` only.
    pub(super) fn name(&self, origin: &HeaderValue) -> bool {
        self.named && self.origins.contains(origin)
    }

    /// Whether this origin's pages may use the `/api` routes.
    pub(super) fn admit(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    /// Whether the operator has named a site of this host: it may pass requests on to a node under its own name.
    pub(super) fn have_host(&self, host: &str) -> bool {
        let is_it = |origin: &HeaderValue| {
            origin.to_str().ok().and_then(host_of).is_some_and(|named| named.eq_ignore_ascii_case(host))
        };
        self.named && self.origins.iter().any(is_it)
    }
}

/// The origin of a URL, as browsers send it.
fn origin(url: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("`{url}` is no URL; expected http://host:port or https://host");
    let parsed: Uri = url.parse().map_err(|_| wrong())?;
    let scheme = parsed.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(wrong)?;
    let authority =
        parsed.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    let host = authority.as_str().to_ascii_lowercase();
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    HeaderValue::from_str(&format!("{scheme}://{host}")).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(urls: &str) -> Vec<String> {
        let frontends = Frontends::parse(Some(urls)).unwrap();
        frontends.origins.iter().map(|origin| origin.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn urls_become_origins() {
        assert_eq!(origins(""), [DEFAULT_URL]);
        assert_eq!(
            origins("https://My-Frontend.example/, http://localhost:3000/app ,http://a:80"),
            ["https://my-frontend.example", "http://localhost:3000", "http://a"]
        );
        for wrong in ["*", "null", "localhost:3000", "ftp://a", "http://", "http://u:p@a", "http://a b"] {
            assert!(Frontends::parse(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
