//! The pieces of code that every request goes through, each by itself:
//!
//! `cargo bench --bench hot [-- FILTER]`. criterion compares each with the last run, or with one that was kept by
//! `--save-baseline NAME` and is named by `--baseline NAME`, and says whether a difference is more than noise.

#[path = "../src/allocator.rs"]
mod allocator;
#[path = "hot/apply.rs"]
mod apply;
#[path = "hot/codec.rs"]
mod codec;
#[path = "hot/storage.rs"]
mod storage;
#[path = "hot/token.rs"]
mod token;

use criterion::{criterion_group, criterion_main};

/// As in the program.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

criterion_group!(benches, apply::all, codec::all, storage::all, token::all);
criterion_main!(benches);
