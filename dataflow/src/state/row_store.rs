//! # Row store
//!
//! Rows as bytes under numbers that are given out again. A row is two stretches of bytes, one after the other: what orders it and what
//! it is. Rows lie in pages; a page that is mostly dead has its living rows moved, so memory stays within about twice what lives, and
//! no single removal pays for more than its page.

use std::cmp::Ordering;

use super::counted_tree::Probe;

/// Bytes of a page. A longer row has a page of its own.
const PAGE_BYTES: usize = if cfg!(test) { 64 } else { 256 << 10 };

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    page: u32,
    start: u32,
    len: u32,
    /// Where the second stretch begins.
    split: u32,
}

#[derive(Debug, Default)]
struct Page {
    data: Vec<u8>,
    /// Bytes that live.
    live: usize,
    /// The rows that were put here; those that have gone or moved are known by their spans.
    rows: Vec<u32>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct RowStore {
    pages: Vec<Page>,
    /// The page rows are put into.
    current: usize,
    spare: Vec<usize>,
    spans: Vec<Span>,
    free: Vec<u32>,
    bytes: usize,
}

/// A row given by its bytes, among those of a store.
pub(crate) struct NewRow<'a> {
    pub(crate) rows: &'a mut RowStore,
    pub(crate) order: &'a [u8],
    pub(crate) row: &'a [u8],
}

impl Probe for NewRow<'_> {
    fn place(&self, id: u32) -> Ordering {
        self.rows.compare(id, self.order, self.row)
    }

    fn number(&mut self) -> u32 {
        self.rows.insert(self.order, self.row)
    }
}

/// A row that is in the store.
pub(crate) struct KnownRow<'a> {
    pub(crate) rows: &'a RowStore,
    pub(crate) id: u32,
}

impl Probe for KnownRow<'_> {
    fn place(&self, id: u32) -> Ordering {
        self.rows.compare_ids(id, self.id)
    }

    fn number(&mut self) -> u32 {
        self.id
    }
}

/// The page of a number that is not in use.
const NOWHERE: u32 = u32::MAX;

impl RowStore {
    /// Keeps a row and tells its number.
    ///
    /// # Panics
    /// When a row exceeds 4 GiB, or there are 2^32 rows.
    pub fn insert(&mut self, order: &[u8], row: &[u8]) -> u32 {
        let span = self.put(&[order, row], order.len());
        let id = match self.free.pop() {
            Some(id) => {
                self.spans[id as usize] = span;
                id
            }
            None => {
                self.spans.push(span);
                u32::try_from(self.spans.len() - 1).expect("fewer than 2^32 rows on a worker")
            }
        };
        self.pages[span.page as usize].rows.push(id);
        id
    }

    fn put(&mut self, parts: &[&[u8]], split: usize) -> Span {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        while self.pages.get(self.current).is_none_or(|page| page.data.len() + len > PAGE_BYTES && !page.data.is_empty()) {
            let sealed = self.current;
            self.current = self.spare.pop().unwrap_or_else(|| {
                self.pages.push(Page::default());
                self.pages.len() - 1
            });
            let page = &mut self.pages[self.current];
            page.data.reserve_exact(PAGE_BYTES.max(len));
            self.bytes += page.data.capacity();
            // Much of what was current may have died while it was.
            if sealed != self.current && self.pages[sealed].live * 2 < self.pages[sealed].data.len() {
                self.empty(sealed);
            }
        }
        let at = self.current;
        let page = &mut self.pages[at];
        // A row of no bytes lies in every page, whatever becomes of it.
        let start = if len == 0 { 0 } else { page.data.len() };
        parts.iter().for_each(|part| page.data.extend_from_slice(part));
        page.live += len;
        let fits = |value: usize| u32::try_from(value).expect("rows are shorter than 4 GiB");
        Span { page: fits(at), start: fits(start), len: fits(len), split: fits(split) }
    }

    /// Forgets a row.
    pub fn remove(&mut self, id: u32) {
        let span = std::mem::replace(&mut self.spans[id as usize], Span { page: NOWHERE, ..Span::default() });
        assert!(span.page != NOWHERE, "row {id} is in use");
        self.free.push(id);
        let at = span.page as usize;
        let page = &mut self.pages[at];
        page.live -= span.len as usize;
        if at == self.current {
            if page.live == 0 {
                page.data.clear();
                page.rows.clear();
            }
        } else if page.live * 2 < page.data.len() {
            self.empty(at);
        }
    }

    /// Moves the living rows of a page elsewhere.
    fn empty(&mut self, at: usize) {
        let page = std::mem::take(&mut self.pages[at]);
        self.bytes = self.bytes.saturating_sub(page.data.capacity());
        for id in page.rows {
            let span = self.spans[id as usize];
            // A number that was given out again stands in another page's list, or further behind in this one's.
            let here = span.page as usize == at;
            if here {
                let from = span.start as usize;
                let moved = self.put(&[&page.data[from..from + span.len as usize]], span.split as usize);
                self.spans[id as usize] = moved;
                self.pages[moved.page as usize].rows.push(id);
            }
        }
        self.spare.push(at);
    }

    /// What orders a row.
    pub fn order(&self, id: u32) -> &[u8] {
        let span = self.spans[id as usize];
        &self.pages[span.page as usize].data[span.start as usize..(span.start + span.split) as usize]
    }

    /// What a row is.
    pub fn row(&self, id: u32) -> &[u8] {
        let span = self.spans[id as usize];
        &self.pages[span.page as usize].data[(span.start + span.split) as usize..(span.start + span.len) as usize]
    }

    /// Where a row stands to another one that is given by its stretches.
    pub fn compare(&self, id: u32, order: &[u8], row: &[u8]) -> std::cmp::Ordering {
        self.order(id).cmp(order).then_with(|| self.row(id).cmp(row))
    }

    /// Where a row stands to another one.
    pub fn compare_ids(&self, left: u32, right: u32) -> std::cmp::Ordering {
        if left == right { std::cmp::Ordering::Equal } else { self.compare(left, self.order(right), self.row(right)) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.spans.len() - self.free.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        self.bytes + self.spans.capacity() * (size_of::<Span>() + 4) + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever is put in and taken out, every row is what it was, and dead bytes do not pile up.
        #[test]
        fn rows_stay_what_they_are(steps in prop::collection::vec((0..40_u8, 0..100_usize, any::<bool>()), 0..400)) {
            let mut store = RowStore::default();
            let mut known: BTreeMap<u32, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
            for (byte, len, remove) in steps {
                if remove && !known.is_empty() {
                    let id = *known.keys().nth(len % known.len()).expect("it is not empty");
                    known.remove(&id);
                    store.remove(id);
                } else {
                    let (order, row) = (vec![byte; len % 7], vec![byte + 1; len]);
                    let id = store.insert(&order, &row);
                    prop_assert!(known.insert(id, (order, row)).is_none());
                }
                for (id, (order, row)) in &known {
                    prop_assert_eq!((store.order(*id), store.row(*id)), (order.as_slice(), row.as_slice()));
                }
                prop_assert_eq!(store.len(), known.len());
                let live: usize = known.values().map(|(order, row)| order.len() + row.len()).sum();
                let held: usize = store.pages.iter().map(|page| page.data.len()).sum();
                prop_assert!(held <= 2 * live + 2 * (PAGE_BYTES + 110), "{held} bytes for {live}");
            }
        }
    }
}
