//! The program's memory allocator.
//!
//! mimalloc is made for many small pieces, of which some are freed on another thread. Its version 3.3 takes a detour for
//! an allocation with an alignment: once a size's free list is empty, it reserves the alignment on top of the size, unless
//! the size is a power of two. So an entry of 160 bytes took 192, and all sizes between the powers of two were rounded up
//! once too often. It aligns to 16 bytes anyway, so up to that it is asked for the size alone.

use std::alloc::{GlobalAlloc, Layout};

/// What `mi_malloc` aligns blocks of at least this size to (`MI_MAX_ALIGN_SIZE`).
const ALIGNED: usize = 16;

/// mimalloc, without its detour.
pub struct Allocator;

fn is_aligned_anyway(layout: Layout) -> bool {
    layout.align() <= ALIGNED && layout.align() <= layout.size()
}

// SAFETY: these are mimalloc's own functions, which may be mixed. A block has the alignment that was asked for: the
// unaligned functions align to 16 bytes, and smaller blocks to their size.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let block = if is_aligned_anyway(layout) {
            unsafe { libmimalloc_sys::mi_malloc(size) }
        } else {
            unsafe { libmimalloc_sys::mi_malloc_aligned(size, align) }
        };
        block.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let block = if is_aligned_anyway(layout) {
            unsafe { libmimalloc_sys::mi_zalloc(size) }
        } else {
            unsafe { libmimalloc_sys::mi_zalloc_aligned(size, align) }
        };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        unsafe { libmimalloc_sys::mi_free(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block = block.cast();
        let moved = if layout.align() <= ALIGNED && layout.align() <= size {
            unsafe { libmimalloc_sys::mi_realloc(block, size) }
        } else {
            unsafe { libmimalloc_sys::mi_realloc_aligned(block, size, layout.align()) }
        };
        moved.cast()
    }
}
