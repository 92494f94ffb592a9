//! Settings of the `/api` routes, which come from the environment.

use super::super::frontends::Frontends;

/// Which web pages may use the `/api` routes, and how much an error says.
#[derive(Debug, Clone, Default)]
pub struct CompatSettings {
    pub(in crate::http) frontends: Frontends,
    /// Whether errors contain their causes.
    pub(in crate::http) development: bool,
}

impl CompatSettings {
    /// From `FRONTEND_URL` (one URL or several, with commas) and `NODE_ENV`; `None` is a variable that is not set.
    ///
    /// # Errors
    /// A sentence, if a URL is none.
    pub fn of(frontend_url: Option<&str>, node_env: Option<&str>) -> Result<Self, String> {
        let frontends = Frontends::parse(frontend_url)?;
        Ok(Self { frontends, development: node_env == Some("development") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_in_development_errors_contain_their_causes() {
        let development = |node_env| CompatSettings::of(None, node_env).unwrap().development;
        assert!(development(Some("development")));
        assert!(!development(Some("production")) && !development(None));
    }
}
