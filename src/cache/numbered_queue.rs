//! A queue of numbered items, in copy-on-write chunks like the slab's pages, so that a snapshot can share it.

use super::codec::{DecodeError, Decoder, put_bool, put_u32, put_u64};
use super::digest::Sum;
use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// Items numbered in the order in which they were added. An item can be taken out of the middle; its number stays as a
/// gap.
#[derive(Debug, Clone)]
pub(super) struct NumberedQueue<T> {
    chunks: VecDeque<Arc<Vec<Option<T>>>>,
    /// Number of the oldest item kept.
    first: u64,
    /// Number the next item gets.
    next: u64,
}

impl<T: Clone> NumberedQueue<T> {
    /// Small items are in longer chunks, because each chunk takes some 60 bytes besides. No chunk is longer than what is
    /// copied in a moment.
    const CHUNK_ITEMS: u64 = if size_of::<Option<T>>() <= 4 { 256 } else { 64 };

    /// An empty queue; the next item gets this number.
    pub fn starting_at(number: u64) -> Self {
        Self { chunks: VecDeque::new(), first: number, next: number }
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// Of the items and gaps, not of what the items point to.
    pub fn memory(&self) -> u64 {
        self.len() * size_of::<Option<T>>() as u64
    }

    /// Items and gaps.
    pub fn len(&self) -> u64 {
        self.next - self.first
    }

    /// For the digest: the range of numbers, and the sum over the items.
    pub fn words(&self, sum: Sum) -> [u64; 4] {
        let [low, high] = sum.words();
        [self.first, self.next, low, high]
    }

    /// Writes the first number and the length, then every item and gap.
    pub fn encode<W: Write>(
        &self,
        out: &mut W,
        put_item: impl Fn(&mut W, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        put_u64(out, self.first)?;
        put_u32(out, self.len() as u32)?;
        for number in self.first..self.next {
            let item = self.get(number);
            put_bool(out, item.is_some())?;
            item.map_or(Ok(()), |item| put_item(out, item))?;
        }
        Ok(())
    }

    /// Reads what [`encode`](Self::encode) wrote: at most `max` items and gaps.
    pub fn decode<R: BufRead>(
        source: &mut Decoder<R>,
        max: usize,
        item: impl Fn(&mut Decoder<R>) -> Result<T, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut queue = Self::starting_at(source.counter()?);
        for _ in 0..source.length(max)? {
            let item = if source.bool()? { Some(item(source)?) } else { None };
            queue.push(item);
        }
        Ok(queue)
    }

    pub fn get(&self, number: u64) -> Option<&T> {
        let (chunk, at) = self.place(number)?;
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    pub fn front(&self) -> Option<&T> {
        self.get(self.first)
    }

    /// Every item with its number, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.first..self.next).filter_map(|number| Some((number, self.get(number)?)))
    }

    /// Appends an item, or a gap, and returns its number.
    pub fn push(&mut self, item: Option<T>) -> u64 {
        let number = self.next;
        let at = (number % Self::CHUNK_ITEMS) as usize;
        if at == 0 || self.chunks.is_empty() {
            self.chunks.push_back(Arc::new(vec![None; at]));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            Arc::make_mut(chunk).push(item);
        }
        self.next += 1;
        number
    }

    /// Takes an item out and leaves a gap.
    pub fn take(&mut self, number: u64) -> Option<T> {
        self.get(number)?;
        let (chunk, at) = self.place(number)?;
        Arc::make_mut(self.chunks.get_mut(chunk)?).get_mut(at)?.take()
    }

    /// Puts another item in the place of one.
    pub fn replace(&mut self, number: u64, item: T) {
        let Some((chunk, at)) = self.place(number) else { return };
        if let Some(place) = self.chunks.get_mut(chunk).and_then(|chunk| Arc::make_mut(chunk).get_mut(at)) {
            *place = Some(item);
        }
    }

    /// Removes the oldest number; `None` when it was a gap or there is none.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        if self.first == self.next {
            return None;
        }
        let number = self.first;
        let item = self.take(number);
        self.first += 1;
        if self.first.is_multiple_of(Self::CHUNK_ITEMS) {
            self.chunks.pop_front();
        }
        Some((number, item?))
    }

    fn place(&self, number: u64) -> Option<(usize, usize)> {
        if number < self.first || number >= self.next {
            return None;
        }
        let chunk = number / Self::CHUNK_ITEMS - self.first / Self::CHUNK_ITEMS;
        Some((chunk as usize, (number % Self::CHUNK_ITEMS) as usize))
    }
}
