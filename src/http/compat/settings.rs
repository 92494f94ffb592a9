//! What the environment says about the `/api` routes.

use super::super::origin::host_of;
use axum::http::{HeaderValue, Uri};

const FRONTEND_URL: &str = "http://localhost:3000";

/// Which web pages may use the `/api` routes, and how much a failure tells.
#[derive(Debug, Clone)]
pub struct CompatSettings {
    /// Origins that browsers let talk to this node, besides its own.
    pub(super) frontends: Vec<HeaderValue>,
    /// Whether somebody has named them.
    named: bool,
    /// Whether failures tell what they came from.
    pub(super) development: bool,
}

impl Default for CompatSettings {
    fn default() -> Self {
        Self { frontends: vec![HeaderValue::from_static(FRONTEND_URL)], named: false, development: false }
    }
}

impl CompatSettings {
    /// As `FRONTEND_URL` (one or several, with commas) and `NODE_ENV` say; `None` is a variable that is not set.
    ///
    /// # Errors
    /// A sentence, when a URL is none.
    pub fn of(frontend_url: Option<&str>, node_env: Option<&str>) -> Result<Self, String> {
        let named = frontend_url.filter(|urls| !urls.trim().is_empty());
        let urls = named.unwrap_or(FRONTEND_URL);
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let frontends = urls.map(origin).collect::<Result<Vec<HeaderValue>, String>>()?;
        Ok(Self { frontends, named: named.is_some(), development: node_env == Some("development") })
    }

    /// Whether somebody has named this origin. The one that is taken when nobody names any is good for `/api` only.
    pub(in crate::http) fn names(&self, origin: &HeaderValue) -> bool {
        self.named && self.frontends.contains(origin)
    }

    /// Whether this origin's pages may use the `/api` routes.
    pub(in crate::http) fn admits(&self, origin: &HeaderValue) -> bool {
        self.frontends.contains(origin)
    }

    /// Whether somebody has named a site of this host: it may pass requests on to a node under its own name.
    pub(in crate::http) fn is_frontend_host(&self, host: &str) -> bool {
        let is_it = |origin: &HeaderValue| {
            origin.to_str().ok().and_then(host_of).is_some_and(|named| named.eq_ignore_ascii_case(host))
        };
        self.named && self.frontends.iter().any(is_it)
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

    fn frontends(urls: &str) -> Vec<String> {
        let settings = CompatSettings::of(Some(urls), None).unwrap();
        settings.frontends.iter().map(|origin| origin.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn urls_become_origins() {
        assert_eq!(frontends(""), [FRONTEND_URL]);
        assert_eq!(
            frontends("https://My-Frontend.example/, http://localhost:3000/app ,http://a:80"),
            ["https://my-frontend.example", "http://localhost:3000", "http://a"]
        );
        for wrong in ["*", "null", "localhost:3000", "ftp://a", "http://", "http://u:p@a", "http://a b"] {
            assert!(CompatSettings::of(Some(wrong), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_development_tells_more() {
        let development = |node_env| CompatSettings::of(None, node_env).unwrap().development;
        assert!(development(Some("development")));
        assert!(!development(Some("production")) && !development(None));
    }
}
