//! The hash by which a value in a cache is recognised: the same in all implementations, because journals contain it.

use super::types::SyncValue;

/// A 64-bit hash (two 32-bit FNV-1a-like halves, the second mixed) of a value and its type, with its length: equal values have equal
/// ones.
pub(super) fn hash_of(value: &SyncValue) -> String {
    let mut one: u32 = 0x811c_9dc5;
    let mut two: u32 = 0x9e37_79b9;
    for unit in value.content_type.as_deref().unwrap_or_default().encode_utf16() {
        one = (one ^ u32::from(unit)).wrapping_mul(0x0100_0193);
        two = (two ^ u32::from(unit)).wrapping_mul(0x85eb_ca6b);
    }
    one = (one ^ 0xff).wrapping_mul(0x0100_0193);
    for &byte in &value.bytes {
        one = (one ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        two = (two ^ u32::from(byte)).wrapping_mul(0x85eb_ca6b) ^ (two >> 13);
    }
    two ^= two >> 16;
    format!("{one:x}.{two:x}.{}", value.bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the TypeScript implementation makes of the same values.
    #[test]
    fn the_hash_is_that_of_the_other_implementation() {
        let text = SyncValue { bytes: "ada".into(), content_type: Some("text/plain".into()) };
        assert_eq!(hash_of(&text), "9692c8e.88c1feef.3");
        let bytes = SyncValue { bytes: vec![0, 255, 7].into(), content_type: None };
        assert_eq!(hash_of(&bytes), "9d1e6cb8.314e614e.3");
    }
}
