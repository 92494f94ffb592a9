//! What a token allows: roles over prefixes of keys.

use super::Key;
use super::limits::{GRANT_PREFIX_BYTES_MAX, GRANTS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What may be done. Each role includes those before it: who may write a key may read it, because the answer to a write tells what
/// was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// How the cluster is: status, metrics, settings. No keys.
    Observe,
    /// Reads and watches keys.
    Read,
    /// Changes keys.
    Write,
    /// Settings, members, backups, tokens.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Observe, Self::Read, Self::Write, Self::Admin];

    /// The role's number in snapshots.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }

    /// As it is called in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Whether it is about keys. The others are about the whole cluster, so their prefix is empty.
    fn is_about_keys(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A role over the keys that begin with a prefix; the empty prefix is all keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: Role,
    #[serde(default)]
    pub prefix: String,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role.is_about_keys() {
            true => write!(f, "{}:{}", self.role, self.prefix),
            false => write!(f, "{}", self.role),
        }
    }
}

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// This role, and no key.
    Role(Role),
    Key(Role, Key),
    /// This role for all keys with the prefix.
    Prefix(Role, String),
    /// To be the holder of the token with this id.
    Holder(String),
}

impl Need {
    fn role(&self) -> Role {
        match self {
            Self::Role(role) | Self::Key(role, _) | Self::Prefix(role, _) => *role,
            Self::Holder(_) => Role::Admin,
        }
    }
}

/// As a grant that would be enough. A key is not repeated as a prefix: whoever writes it down would grant more than asked.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "the role {role}"),
            Self::Key(role, key) => write!(f, "{role} for {:?}", key.as_str()),
            Self::Holder(_) => f.write_str("the token itself"),
            Self::Prefix(role, prefix) if prefix.is_empty() => write!(f, "{role} for all keys"),
            Self::Prefix(role, prefix) => write!(f, "{role} for all keys that begin with {prefix:?}"),
        }
    }
}

/// Whether one of the grants covers the need as a whole. Grants only add up, and several that each cover a part do not make one.
pub fn allows(grants: &[Grant], need: &Need) -> bool {
    let role = need.role();
    grants.iter().filter(|grant| grant.role >= role).any(|grant| match need {
        Need::Role(_) => true,
        // No grant makes one token another one.
        Need::Holder(_) => false,
        Need::Key(_, key) => key.as_str().starts_with(&grant.prefix),
        Need::Prefix(_, prefix) => prefix.starts_with(&grant.prefix),
    })
}

/// Whether these can be the grants of a token.
pub fn are_valid(grants: &[Grant]) -> bool {
    let is_valid = |grant: &Grant| match grant.role.is_about_keys() {
        true => grant.prefix.len() <= GRANT_PREFIX_BYTES_MAX,
        false => grant.prefix.is_empty(),
    };
    (1..=GRANTS_MAX).contains(&grants.len()) && grants.iter().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grant(role: Role, prefix: &str) -> Grant {
        Grant { role, prefix: prefix.to_owned() }
    }

    fn key(text: &str) -> Key {
        Key::new(text).expect("a key")
    }

    #[test]
    fn a_role_includes_those_before_it() {
        for (at, granted) in Role::ALL.into_iter().enumerate() {
            for (asked_at, asked) in Role::ALL.into_iter().enumerate() {
                let allowed = allows(&[grant(granted, "")], &Need::Role(asked));
                assert_eq!(allowed, asked_at <= at, "{granted} asked for {asked}");
            }
        }
        assert!(!allows(&[], &Need::Role(Role::Observe)), "nothing is allowed by default");
        let reads = [grant(Role::Observe, ""), grant(Role::Read, "a/")];
        assert!(!allows(&reads, &Need::Key(Role::Read, key("b"))), "to observe is about no key");
        assert!(!allows(&reads, &Need::Key(Role::Write, key("a/x"))));
    }

    /// Short texts of few letters, so that they are often prefixes of each other.
    fn text(least: usize) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!['a', 'b', '\u{10ffff}']), least..=3)
            .prop_map(|letters| letters.into_iter().collect())
    }

    /// All keys of up to four of those letters that begin with a prefix.
    fn keys_below(prefix: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..5 {
            let longer =
                found.iter().flat_map(|start| ['a', 'b', '\u{10ffff}'].map(|c| format!("{start}{c}")));
            found = longer.collect();
            all.extend(found.iter().filter(|key| key.starts_with(prefix)).cloned());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 256 }))]

        /// A range is allowed exactly if one grant allows each of its keys.
        #[test]
        fn ranges_are_allowed_as_a_whole(
            prefixes in prop::collection::vec((prop::sample::select(vec![Role::Read, Role::Write]), text(0)), 1..4),
            asked in text(0),
            role in prop::sample::select(vec![Role::Read, Role::Write]),
        ) {
            let grants: Vec<Grant> = prefixes.iter().map(|(role, prefix)| grant(*role, prefix)).collect();
            let by_one = grants.iter().any(|one| {
                keys_below(&asked).iter().all(|name| allows(std::slice::from_ref(one), &Need::Key(role, key(name))))
            });
            prop_assert_eq!(allows(&grants, &Need::Prefix(role, asked.clone())), by_one);
            for name in keys_below(&asked) {
                let expected = grants.iter().any(|grant| grant.role >= role && name.starts_with(&grant.prefix));
                prop_assert_eq!(allows(&grants, &Need::Key(role, key(&name))), expected);
            }
        }
    }
}
