//! Whom the cluster refuses although a token that somebody else has signed says who they are. Such tokens cannot be revoked: they are
//! good until they expire, wherever their signer's key is known. So the state has a list, which is looked at as tokens are.

use super::digest::{Sum, hash_text, hash_words};
use super::limits::{BLOCKED_BYTES_MAX, BLOCKS_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// All tokens about this subject (`sub`).
    Subject(String),
    /// The token with this id (`jti`).
    JwtId(String),
}

impl Blocked {
    fn text(&self) -> &str {
        match self {
            Self::Subject(text) | Self::JwtId(text) => text,
        }
    }

    pub fn is_valid(&self) -> bool {
        (1..=BLOCKED_BYTES_MAX).contains(&self.text().len())
    }
}

/// A block, and until when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub blocked: Blocked,
    /// In log time; `None` is until it is lifted.
    pub until_ms: Option<u64>,
}

/// All blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<Blocked, Option<u64>>);

impl Blocks {
    /// `None` when one is there twice, is none, or there are too many.
    pub fn restore(blocks: Vec<Block>) -> Option<Self> {
        let count = blocks.len();
        let all: BTreeMap<_, _> = blocks.into_iter().map(|block| (block.blocked, block.until_ms)).collect();
        (all.len() == count && count <= BLOCKS_MAX && all.keys().all(Blocked::is_valid)).then_some(Self(all))
    }

    /// Adds one, or has it hold until another time. Those that hold no longer are forgotten. False if there are too many.
    pub fn add(&mut self, block: Block, now_ms: u64) -> bool {
        self.0.retain(|_, until_ms| until_ms.is_none_or(|until| until > now_ms));
        if self.0.len() >= BLOCKS_MAX && !self.0.contains_key(&block.blocked) {
            return false;
        }
        self.0.insert(block.blocked, block.until_ms);
        true
    }

    /// Whether it was there.
    pub fn lift(&mut self, blocked: &Blocked) -> bool {
        self.0.remove(blocked).is_some()
    }

    /// Whether a token about this subject, with this id, is refused.
    pub fn hold(&self, subject: &str, jwt_id: Option<&str>, now_ms: u64) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let of = |blocked| self.0.get(&blocked).is_some_and(|until| until.is_none_or(|until| until > now_ms));
        of(Blocked::Subject(subject.to_owned())) || jwt_id.is_some_and(|id| of(Blocked::JwtId(id.to_owned())))
    }

    /// In the order of what is blocked.
    pub fn all(&self) -> impl ExactSizeIterator<Item = Block> {
        self.0.iter().map(|(blocked, until_ms)| Block { blocked: blocked.clone(), until_ms: *until_ms })
    }

    pub fn add_to(&self, sum: &mut Sum) {
        for (blocked, until_ms) in &self.0 {
            let [low, high] = hash_text(blocked.text());
            let kind = u64::from(matches!(blocked, Blocked::JwtId(_)));
            sum.add(hash_words([low, high, kind, u64::from(until_ms.is_some()), until_ms.unwrap_or(0)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Blocked {
        Blocked::Subject(text.into())
    }

    #[test]
    fn a_block_holds_for_its_subject_or_its_token() {
        let mut blocks = Blocks::default();
        assert!(!blocks.hold("app", Some("1"), 5));
        assert!(blocks.add(Block { blocked: subject("app"), until_ms: None }, 5));
        assert!(blocks.add(Block { blocked: Blocked::JwtId("1".into()), until_ms: Some(10) }, 5));
        for (name, id, now_ms, wanted) in [
            ("app", None, 5, true),
            ("app", Some("2"), 999, true),
            ("1", None, 5, false),
            ("other", Some("app"), 5, false),
            ("other", Some("1"), 9, true),
            ("other", Some("1"), 10, false),
        ] {
            assert_eq!(blocks.hold(name, id, now_ms), wanted, "{name} {id:?} {now_ms}");
        }
        assert!(blocks.lift(&subject("app")) && !blocks.lift(&subject("app")));
        assert!(!blocks.hold("app", None, 5));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut blocks = Blocks::default();
        for number in 0..BLOCKS_MAX {
            let until_ms = (number == 7).then_some(10);
            assert!(blocks.add(Block { blocked: subject(&number.to_string()), until_ms }, 5));
        }
        let more = Block { blocked: subject("more"), until_ms: None };
        assert!(!blocks.add(more.clone(), 9));
        assert!(blocks.add(Block { blocked: subject("0"), until_ms: Some(20) }, 9), "one that is there");
        assert!(blocks.add(more, 10), "one has ended");
        let all: Vec<Block> = blocks.all().collect();
        assert_eq!(all.len(), BLOCKS_MAX);
        let mut twice = all.clone();
        twice[0] = twice[1].clone();
        assert!(Blocks::restore(twice).is_none());
        assert!(Blocks::restore(all).is_some_and(|blocks| blocks.hold("more", None, 10)));
        for wrong in ["", &"x".repeat(BLOCKED_BYTES_MAX + 1)] {
            assert!(!subject(wrong).is_valid());
        }
    }
}
