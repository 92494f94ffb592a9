//! Immutable bytes with several owners, for what there is one of in every entry.
//!
//! It is an `Arc<[u8]>` that takes less: the count of owners has 4 bytes instead of 8 or 16, the allocation is not rounded
//! up to a multiple of 8, and an owner has 12 bytes and the alignment of a `u32`. The length is with the owner, so that
//! reading it does not load the bytes into the processor's caches.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// More owners than memory has room for. Beyond it the count could wrap to 0 while there are owners.
const OWNERS_MAX: u32 = u32::MAX / 2;

/// An owner. The block starts with the count of owners; `length` bytes follow.
#[repr(C, packed(4))]
pub(super) struct SharedBytes {
    block: NonNull<AtomicU32>,
    length: u32,
}

const _: () = assert!(size_of::<Option<SharedBytes>>() == 12 && align_of::<SharedBytes>() == 4);

// SAFETY: the bytes never change while they are shared, and the count is atomic.
unsafe impl Send for SharedBytes {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    /// What a block has besides the bytes.
    pub const OVERHEAD_BYTES: usize = size_of::<AtomicU32>();

    /// Whether there is another owner.
    pub fn is_shared(&self) -> bool {
        self.owners().load(Ordering::Relaxed) > 1
    }

    /// Copies the parts, one after another. They have less than 4 GiB together.
    pub fn concat<const N: usize>(parts: [&[u8]; N]) -> Self {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(bytes).expect("less than 4 GiB");
        let layout = layout(bytes);
        // SAFETY: the layout's size is not 0, because it has the count.
        let block = unsafe { alloc(layout) }.cast::<AtomicU32>();
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        // SAFETY: the block is aligned for the count and has room for it.
        unsafe { block.write(AtomicU32::new(1)) };
        // SAFETY: the bytes start where the count ends, inside the block.
        let mut end = unsafe { block.add(1) }.cast::<u8>();
        for part in parts {
            // SAFETY: the block has room for all parts, and is new, so it overlaps none of them. `end` is at most one past
            // the block's last byte.
            unsafe {
                end.copy_from_nonoverlapping(NonNull::from(part).cast(), part.len());
                end = end.add(part.len());
            }
        }
        Self { block, length }
    }

    fn owners(&self) -> &AtomicU32 {
        let block = self.block;
        // SAFETY: the block lives as long as an owner, and its first bytes are only used as this count.
        unsafe { block.as_ref() }
    }
}

/// Of the block for so many bytes.
fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_of::<AtomicU32>() + bytes, align_of::<AtomicU32>())
        .expect("less than half of all addresses")
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let block = self.block;
        // SAFETY: so many bytes were written behind the count, and nothing changes them while there is an owner.
        unsafe { std::slice::from_raw_parts(block.add(1).cast::<u8>().as_ptr(), self.length as usize) }
    }
}

impl Clone for SharedBytes {
    fn clone(&self) -> Self {
        // Relaxed, as in std's `Arc`: there is an owner already, so nothing can be freed meanwhile.
        if self.owners().fetch_add(1, Ordering::Relaxed) > OWNERS_MAX {
            std::process::abort();
        }
        Self { block: self.block, length: self.length }
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        if self.owners().fetch_sub(1, Ordering::Release) > 1 {
            return;
        }
        // What other owners read happened before they were dropped, and so before the bytes are freed. (A fence would do,
        // but tools that look for races do not understand it.)
        self.owners().load(Ordering::Acquire);
        let block = self.block;
        // SAFETY: this was the last owner, and the block was allocated with this layout.
        unsafe { dealloc(block.as_ptr().cast(), layout(self.length as usize)) };
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_whatever_their_lengths() {
        for length in 0..40 {
            let long = vec![b'x'; length];
            let joined = SharedBytes::concat([b"a", b"", &long, b"bc"]);
            assert_eq!(*joined, *[b"a", &long[..], b"bc"].concat());
            assert!(joined == joined.clone());
        }
        assert!(SharedBytes::concat([b""]).is_empty());
        assert!(SharedBytes::concat([b"a", b"b"]) == SharedBytes::concat([b"", b"ab"]));
        assert!(SharedBytes::concat([b"a"]) != SharedBytes::concat([b"b"]));
    }

    #[test]
    fn owners_are_counted() {
        let first = SharedBytes::concat([b"shared"]);
        let mut all = vec![first.clone(), first.clone(), first];
        all.push(all[1].clone());
        while let Some(one) = all.pop() {
            assert_eq!(one.owners().load(Ordering::Relaxed) as usize, 1 + all.len());
            assert_eq!(*one, *b"shared");
        }
    }

    /// In an array, where every other owner is at an address that is no multiple of 8.
    #[test]
    fn an_owner_needs_no_alignment_of_8() {
        let mut many: Vec<SharedBytes> =
            (0..7_u8).map(|number| SharedBytes::concat([&[number; 3]])).collect();
        for (number, one) in many.iter().enumerate() {
            assert_eq!(**one, [number as u8; 3]);
        }
        many.swap(1, 2);
        many.remove(0);
        assert_eq!((&*many[0], &*many[1]), (&[2; 3][..], &[1; 3][..]));
    }
}
