//! What the subjects of tokens may do, where their signer does not say: a file of the operator's.

use crate::cache::{Grant, grants_are_valid};
use serde::Deserialize;

/// Most rules in a file.
const RULES_MAX: usize = 1_024;

/// The rules of a file.
#[derive(Debug, Deserialize)]
pub(super) struct SubjectGrants(Vec<Rule>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A whole subject, or its beginning and `*`.
    subject: String,
    grants: Vec<Grant>,
}

impl SubjectGrants {
    /// Parses `[{"subject": "system:serviceaccount:shop:*", "grants": [{"role": "read", "prefix": "price:"}]}]`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let Self(rules) = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if rules.len() > RULES_MAX {
            return Err(format!("it has {} rules; at most {RULES_MAX} are expected", rules.len()));
        }
        for Rule { subject, grants } in &rules {
            let named = |reason: &str| Err(format!("the rule for `{subject}`: {reason}"));
            if subject.is_empty() || subject.strip_suffix('*').unwrap_or(subject).contains('*') {
                return named("expected a subject, or its beginning and `*`");
            }
            if !grants_are_valid(grants) {
                return named("expected up to 32 grants; `observe` and `admin` have no prefix");
            }
        }
        Ok(Self(rules))
    }

    /// What all rules for this subject allow together. `None` if that is more than a token can have.
    pub fn of(&self, subject: &str) -> Option<Vec<Grant>> {
        let is_for = |rule: &&Rule| match rule.subject.strip_suffix('*') {
            Some(start) => subject.starts_with(start),
            None => rule.subject == subject,
        };
        let mut all: Vec<Grant> = Vec::new();
        for grant in self.0.iter().filter(is_for).flat_map(|rule| &rule.grants) {
            if !all.contains(grant) {
                all.push(grant.clone());
            }
        }
        (all.is_empty() || grants_are_valid(&all)).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_add_up() {
        let text = br#"[
            {"subject": "system:serviceaccount:shop:*", "grants": [{"role": "read", "prefix": "price:"}]},
            {"subject": "system:serviceaccount:shop:till", "grants": [{"role": "write", "prefix": "cart:"}]},
            {"subject": "*", "grants": [{"role": "observe"}, {"role": "read", "prefix": "price:"}]}
        ]"#;
        let rules = SubjectGrants::parse(text).expect("rules");
        let of = |subject: &str| {
            let grants = rules.of(subject).expect("few enough");
            grants.iter().map(Grant::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("system:serviceaccount:shop:till"), "read:price: write:cart: observe");
        assert_eq!(of("system:serviceaccount:shop:other"), "read:price: observe");
        assert_eq!(of("somebody"), "observe read:price:");
        assert_eq!(of("system:serviceaccount:shop"), "observe read:price:");
        let nobody =
            SubjectGrants::parse(br#"[{"subject": "a", "grants": [{"role": "observe"}]}]"#).expect("a rule");
        assert_eq!(nobody.of("A"), Some(Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "{}",
            r#"[{"subject": "a"}]"#,
            r#"[{"subject": "", "grants": [{"role": "observe"}]}]"#,
            r#"[{"subject": "a*b", "grants": [{"role": "observe"}]}]"#,
            r#"[{"subject": "**", "grants": [{"role": "observe"}]}]"#,
            r#"[{"subject": "a", "grants": []}]"#,
            r#"[{"subject": "a", "grants": [{"role": "admin", "prefix": "a"}]}]"#,
            r#"[{"subject": "a", "grants": [{"role": "root"}]}]"#,
            r#"[{"subject": "a", "grants": [{"role": "observe"}], "role": "admin"}]"#,
        ] {
            assert!(SubjectGrants::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
