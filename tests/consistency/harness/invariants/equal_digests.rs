//! R4: at equal index, equal digests.

use super::{Invariant, Sighting};
use lockstep::api::IndexedDigest;
use std::collections::HashMap;

#[derive(Default)]
pub struct EqualDigests {
    /// The digest at an index, and who said so first.
    known: HashMap<u64, (String, String)>,
}

impl Invariant for EqualDigests {
    fn name(&self) -> &'static str {
        "equal index, equal digest"
    }

    fn see(&mut self, Sighting { status, .. }: &Sighting) -> Result<(), String> {
        if let Some(index) = status.differs_at {
            return Err(format!("{} found itself different at index {index}", status.node.name));
        }
        self.see_digests(&status.node.name, std::slice::from_ref(&status.digest))
    }

    fn see_digests(&mut self, node: &str, digests: &[IndexedDigest]) -> Result<(), String> {
        for IndexedDigest { index, digest } in digests {
            let (known, first) =
                self.known.entry(*index).or_insert_with(|| (digest.clone(), node.to_owned()));
            if known != digest {
                return Err(format!("at index {index} {first} has {known} and {node} has {digest}"));
            }
        }
        Ok(())
    }
}
