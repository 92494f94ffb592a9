//! What may be made of a script's values outside Lua. There, neither Lua's limit of memory nor that of time counts, and a table that is
//! referred to often is small in Lua and is written out each time.

use mlua::Error;

/// Memory that a script can use, what it was given included.
pub(super) const MEMORY_MAX: usize = 64 * 1024 * 1024;
/// What a value takes beside its text.
const VALUE_BYTES: usize = 64;

/// Bytes that are left.
pub(super) struct Budget(usize);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes what a value with so many bytes of text needs.
    ///
    /// # Errors
    /// There is not so much left.
    pub fn take(&mut self, bytes: usize) -> mlua::Result<()> {
        self.0 = self
            .0
            .checked_sub(bytes.saturating_add(VALUE_BYTES))
            .ok_or_else(|| Error::runtime("what the script makes is too large"))?;
        Ok(())
    }
}
