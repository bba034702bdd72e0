//! The bytes of a file as a sparse map of pages, so that a write at one terabyte costs one page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Range;

/// Bytes of a page, as most file systems have it.
pub(super) const PAGE_BYTES: u64 = 4096;
const PAGE: usize = PAGE_BYTES as usize;

/// How many pages the whole volume may have, and has.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) pages_max: u64,
    pub(super) pages_used: AtomicU64,
}

impl Budget {
    fn take(&self, pages: u64) -> bool {
        let add = |used: u64| used.checked_add(pages).filter(|n| *n <= self.pages_max);
        self.pages_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give(&self, pages: u64) {
        self.pages_used.fetch_sub(pages, Ordering::Relaxed);
    }
}

/// The bytes of one file.
#[derive(Debug, Default)]
pub(super) struct Data {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    size: u64,
}

impl Data {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn allocation(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        if offset >= self.size {
            return 0;
        }
        let n = (self.size - offset).min(buffer.len() as u64);
        for (page, within, part) in pieces(offset, n) {
            let at = usize::try_from(page * PAGE_BYTES + within.start as u64 - offset).expect("inside the buffer");
            match self.pages.get(&page) {
                Some(p) => buffer[at..at + part].copy_from_slice(&p[within]),
                None => buffer[at..at + part].fill(0),
            }
        }
        usize::try_from(n).expect("no longer than the buffer")
    }

    /// Writes; false when the volume is full (then nothing was written). The caller has checked that the end fits in 63 bits.
    pub(super) fn write(&mut self, budget: &Budget, offset: u64, data: &[u8]) -> bool {
        if data.is_empty() {
            return true;
        }
        let n = data.len() as u64;
        let new = pieces(offset, n).filter(|(page, _, _)| !self.pages.contains_key(page)).count() as u64;
        if !budget.take(new) {
            return false;
        }
        for (page, within, part) in pieces(offset, n) {
            let at = usize::try_from(page * PAGE_BYTES + within.start as u64 - offset).expect("inside the data");
            self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]))[within].copy_from_slice(&data[at..at + part]);
        }
        self.size = self.size.max(offset + n);
        true
    }

    pub(super) fn set_len(&mut self, budget: &Budget, size: u64) {
        if size < self.size {
            self.zero(budget, Range { offset: size, length: self.size - size });
            let gone = self.pages.split_off(&size.div_ceil(PAGE_BYTES));
            budget.give(gone.len() as u64);
        }
        self.size = size;
    }

    /// Zeroes a range below the size; whole pages go.
    pub(super) fn zero(&mut self, budget: &Budget, range: Range) {
        let end = range.offset.saturating_add(range.length).min(self.size);
        if range.offset >= end {
            return;
        }
        let first = range.offset / PAGE_BYTES;
        let touched: Vec<u64> = self.pages.range(first..end.div_ceil(PAGE_BYTES)).map(|(p, _)| *p).collect();
        for page in touched {
            let start = page * PAGE_BYTES;
            let from = range.offset.saturating_sub(start);
            let to = (end - start).min(PAGE_BYTES);
            // The last page of the file may go whole: what is beyond the size is zero anyhow.
            if from == 0 && (to == PAGE_BYTES || end == self.size) {
                self.pages.remove(&page);
                budget.give(1);
            } else if let Some(p) = self.pages.get_mut(&page) {
                let (from, to) = (usize::try_from(from).expect("in a page"), usize::try_from(to).expect("in a page"));
                p[from..to].fill(0);
            }
        }
    }

    pub(super) fn allocated(&self, range: Range, limit: usize) -> Vec<Range> {
        let end = range.offset.saturating_add(range.length).min(self.size);
        let mut ranges: Vec<Range> = Vec::new();
        if range.offset >= end {
            return ranges;
        }
        for page in self.pages.range(range.offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(|(p, _)| *p) {
            let (from, to) = ((page * PAGE_BYTES).max(range.offset), ((page + 1) * PAGE_BYTES).min(end));
            let count = ranges.len();
            match ranges.last_mut() {
                Some(last) if last.offset + last.length == from => last.length += to - from,
                _ if count == limit => break,
                _ => ranges.push(Range { offset: from, length: to - from }),
            }
        }
        ranges
    }
}

/// Cuts a range at page borders: page, range within it, length.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let end = offset + length;
    (offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(move |page| {
        let start = page * PAGE_BYTES;
        let from = usize::try_from(offset.max(start) - start).expect("in a page");
        let to = usize::try_from(end.min(start + PAGE_BYTES) - start).expect("in a page");
        (page, from..to, to - from)
    })
}
