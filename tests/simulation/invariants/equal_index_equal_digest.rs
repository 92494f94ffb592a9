//! R4: whoever applied an index has the digest that everybody else has there, in this life or an earlier one.

use super::{Invariant, Sight};
use lockstep::cache::Digest;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Digests {
    known: BTreeMap<u64, Digest>,
}

impl Invariant for Digests {
    fn check(&mut self, sight: &Sight) -> Result<(), String> {
        for (index, digest) in &sight.digests {
            let known = self.known.entry(*index).or_insert(*digest);
            if known != digest {
                return Err(format!(
                    "machine {} has digest {digest} at index {index}, another had {known}",
                    sight.place
                ));
            }
        }
        Ok(())
    }
}
