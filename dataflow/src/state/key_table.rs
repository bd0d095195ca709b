//! # Key table
//!
//! From keys to dense numbers: the first key is 0, the next 1, and a removed number is given out again. Open addressing with linear
//! probing over 16-byte entries that hold the whole hash, so that a probe is one cache line and growing never reads a key. For keys of
//! one word the hash is a bijection and is the comparison. Large tables are probed in blocks whose cache lines are asked for first.

use arrow::array::{Array, BinaryArray, UInt64Array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};

use super::key_rows::KeyRows;

/// No number.
const NONE: u32 = u32::MAX;
/// Entries beyond which a table does not fit the near caches: 512 KiB.
const FAR: usize = 1 << 15;
const BLOCK: usize = 64;

/// Which rows of a list take part.
pub trait RowSet: Copy {
    /// How many.
    fn len(self) -> usize;
    /// Whether there are none.
    fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// The `position`-th of them.
    fn at(self, position: usize) -> usize;
}

/// Adjacent rows.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The first.
    pub first: usize,
    /// How many.
    pub rows: usize,
}

impl RowSet for Stretch {
    fn len(self) -> usize {
        self.rows
    }
    fn at(self, position: usize) -> usize {
        self.first + position
    }
}

impl RowSet for &[u32] {
    fn len(self) -> usize {
        self.len()
    }
    fn at(self, position: usize) -> usize {
        self[position] as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    id: u32,
}

const EMPTY: Entry = Entry { hash: 0, id: NONE };

/// The probing part: hashes to numbers.
#[derive(Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    used: usize,
}

/// The keys by number.
#[derive(Debug, Default)]
enum Keys {
    /// Not known before the first key.
    #[default]
    Unknown,
    Unit,
    Words(Vec<u64>),
    Bytes {
        data: Vec<u8>,
        spans: Vec<Span>,
        garbage: usize,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u64,
    len: u32,
}

impl Span {
    fn of(self, data: &[u8]) -> &[u8] {
        &data[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// Numbers keys. See the module's documentation.
#[derive(Debug)]
pub struct KeyTable {
    index: Index,
    keys: Keys,
    hashes: Vec<u64>,
    null: u32,
    free: Vec<u32>,
    len: usize,
}

impl Default for KeyTable {
    fn default() -> Self {
        Self { index: Index::default(), keys: Keys::Unknown, hashes: Vec::new(), null: NONE, free: Vec::new(), len: 0 }
    }
}

impl KeyTable {
    /// An empty table. The first keys decide which encoding it holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the greatest number given out since the last reset.
    pub fn numbers(&self) -> usize {
        self.hashes.len()
    }

    /// The hash of the key with a number that is in use.
    pub fn hash(&self, id: u32) -> u64 {
        self.hashes[id as usize]
    }

    /// Appends the number of each row's key to `ids`, giving new numbers to new keys.
    pub fn intern(&mut self, keys: &KeyRows, hashes: &[u64], rows: impl RowSet, ids: &mut Vec<u32>) {
        if rows.is_empty() {
            return;
        }
        match keys {
            KeyRows::Unit(_) => self.intern_unit(hashes[rows.at(0)], rows.len(), ids),
            KeyRows::Words(words) => self.intern_words(words, hashes, rows, ids),
            KeyRows::Bytes(bytes) => self.intern_bytes(bytes, hashes, rows, ids),
        }
    }

    fn intern_unit(&mut self, hash: u64, rows: usize, ids: &mut Vec<u32>) {
        self.keys = Keys::Unit;
        self.len = 1;
        self.free.clear();
        if self.hashes.is_empty() {
            self.hashes.push(hash);
        }
        ids.resize(ids.len() + rows, 0);
    }

    fn intern_words(&mut self, keys: &UInt64Array, hashes: &[u64], rows: impl RowSet, ids: &mut Vec<u32>) {
        if matches!(self.keys, Keys::Unknown) {
            self.keys = Keys::Words(Vec::new());
        }
        let Keys::Words(stored) = &mut self.keys else { panic!("a key table holds keys of one encoding") };
        let numbers = Numbers { hashes: &mut self.hashes, free: &mut self.free, len: &mut self.len };
        let side = WordSide { values: keys.values(), stored, numbers };
        intern_nullable(&mut self.index, &mut self.null, keys.nulls(), hashes, rows, ids, side);
    }

    fn intern_bytes(&mut self, keys: &BinaryArray, hashes: &[u64], rows: impl RowSet, ids: &mut Vec<u32>) {
        if matches!(self.keys, Keys::Unknown) {
            self.keys = Keys::Bytes { data: Vec::new(), spans: Vec::new(), garbage: 0 };
        }
        let Keys::Bytes { data, spans, .. } = &mut self.keys else { panic!("a key table holds keys of one encoding") };
        let numbers = Numbers { hashes: &mut self.hashes, free: &mut self.free, len: &mut self.len };
        let side = ByteSide { offsets: keys.value_offsets(), values: keys.value_data(), data, spans, numbers };
        intern_nullable(&mut self.index, &mut self.null, keys.nulls(), hashes, rows, ids, side);
    }

    /// Appends the number of each row's key to `ids`, `u32::MAX` for keys that are not known.
    pub fn find(&self, keys: &KeyRows, hashes: &[u64], ids: &mut Vec<u32>) {
        match (keys, &self.keys) {
            (KeyRows::Unit(rows), _) => ids.resize(ids.len() + rows, if self.len > 0 { 0 } else { NONE }),
            (_, Keys::Unknown) => ids.resize(ids.len() + keys.len(), NONE),
            (KeyRows::Words(words), Keys::Words(_)) => {
                // The hash is a bijection.
                let found = (0..words.len()).map(|row| self.find_one(words.is_null(row), hashes[row], |_| true));
                ids.extend(found);
            }
            (KeyRows::Bytes(bytes), Keys::Bytes { data, spans, .. }) => {
                let found = (0..bytes.len())
                    .map(|row| self.find_one(bytes.is_null(row), hashes[row], |id| spans[id as usize].of(data) == bytes.value(row)));
                ids.extend(found);
            }
            _ => panic!("a key table holds keys of one encoding"),
        }
    }

    fn find_one(&self, null: bool, hash: u64, same: impl Fn(u32) -> bool) -> u32 {
        if null {
            return self.null;
        }
        let entries = self.index.entries.as_slice();
        if entries.is_empty() {
            return NONE;
        }
        let mask = entries.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = entries[slot];
            if entry.id == NONE || (entry.hash == hash && same(entry.id)) {
                return entry.id;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The keys with some numbers, in their order.
    pub fn rows(&self, ids: &[u32]) -> KeyRows {
        let null = self.null != NONE && ids.contains(&self.null);
        match &self.keys {
            Keys::Unknown => {
                assert!(ids.is_empty(), "an empty table has no numbers");
                KeyRows::Unit(0)
            }
            Keys::Unit => KeyRows::Unit(ids.len()),
            Keys::Words(stored) => {
                let values: Vec<u64> = ids.iter().map(|id| stored[*id as usize]).collect();
                KeyRows::Words(UInt64Array::new(values.into(), null.then(|| self.validity(ids))))
            }
            Keys::Bytes { data, spans, .. } => {
                let mut ends: Vec<i32> = Vec::with_capacity(ids.len() + 1);
                ends.push(0);
                let total: usize = ids.iter().map(|id| spans[*id as usize].len as usize).sum();
                assert!(i32::try_from(total).is_ok(), "keys are read back in portions below 2 GiB");
                let mut values: Vec<u8> = Vec::with_capacity(total);
                for id in ids {
                    values.extend_from_slice(spans[*id as usize].of(data));
                    ends.push(values.len() as i32);
                }
                let nulls = null.then(|| self.validity(ids));
                KeyRows::Bytes(BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(values), nulls))
            }
        }
    }

    fn validity(&self, ids: &[u32]) -> NullBuffer {
        NullBuffer::new(BooleanBuffer::collect_bool(ids.len(), |position| ids[position] != self.null))
    }

    /// Sorts numbers by their keys, nulls first.
    pub fn sort(&self, ids: &mut [u32]) {
        match &self.keys {
            Keys::Unknown | Keys::Unit => {}
            Keys::Words(stored) => {
                let mut pairs: Vec<(u64, u32)> = ids.iter().map(|id| (stored[*id as usize], *id)).collect();
                pairs.sort_unstable_by_key(|(word, id)| (*id != self.null, *word));
                for (id, (_, sorted)) in ids.iter_mut().zip(pairs) {
                    *id = sorted;
                }
            }
            Keys::Bytes { data, spans, .. } => {
                let key = |id: u32| spans[id as usize].of(data);
                let mut pairs: Vec<(u64, u32)> = ids.iter().map(|id| (prefix(key(*id)), *id)).collect();
                pairs.sort_unstable_by(|(left, left_id), (right, right_id)| {
                    let nulls = (*left_id != self.null).cmp(&(*right_id != self.null));
                    nulls.then(left.cmp(right)).then_with(|| key(*left_id).cmp(key(*right_id)))
                });
                for (id, (_, sorted)) in ids.iter_mut().zip(pairs) {
                    *id = sorted;
                }
            }
        }
    }

    /// Forgets a key; its number will be given out again.
    ///
    /// # Panics
    /// If the number is not in use.
    pub fn remove(&mut self, id: u32) {
        if id == self.null {
            self.null = NONE;
        } else if !matches!(self.keys, Keys::Unit) {
            self.index.remove(self.hashes[id as usize], id);
        }
        assert!(self.len > 0, "a number in use");
        self.len -= 1;
        self.free.push(id);
        if let Keys::Bytes { data, spans, garbage } = &mut self.keys {
            *garbage += spans[id as usize].len as usize;
            spans[id as usize] = Span::default();
            if *garbage > 1 << 16 && *garbage > data.len() / 2 {
                compact(data, spans);
                *garbage = 0;
            }
        }
    }

    /// Forgets all keys, keeping what is allocated unless it is far more than was used.
    pub fn reset(&mut self) {
        self.index.reset();
        match &mut self.keys {
            Keys::Unknown | Keys::Unit => {}
            Keys::Words(stored) => stored.clear(),
            Keys::Bytes { data, spans, garbage } => {
                data.clear();
                spans.clear();
                *garbage = 0;
            }
        }
        self.hashes.clear();
        self.free.clear();
        self.null = NONE;
        self.len = 0;
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Unknown | Keys::Unit => 0,
            Keys::Words(stored) => stored.capacity() * 8,
            Keys::Bytes { data, spans, .. } => data.capacity() + spans.capacity() * size_of::<Span>(),
        };
        self.index.entries.capacity() * size_of::<Entry>() + keys + self.hashes.capacity() * 8 + self.free.capacity() * 4
    }
}

/// Gives numbers out.
struct Numbers<'a> {
    hashes: &'a mut Vec<u64>,
    free: &'a mut Vec<u32>,
    len: &'a mut usize,
}

impl Numbers<'_> {
    /// A number for a new key, and whether it was given out before.
    fn give(&mut self, hash: u64) -> (u32, bool) {
        *self.len += 1;
        match self.free.pop() {
            Some(id) => {
                self.hashes[id as usize] = hash;
                (id, true)
            }
            None => {
                assert!(self.hashes.len() < NONE as usize, "fewer than 2^32 - 1 keys in one table");
                self.hashes.push(hash);
                ((self.hashes.len() - 1) as u32, false)
            }
        }
    }
}

/// What a probe compares with and adds to: some rows on one side, the stored keys on the other.
trait Side {
    /// Whether a stored key of the same hash is the row's.
    fn same(&self, id: u32, row: usize) -> bool;
    /// Stores a row's key.
    fn add(&mut self, row: usize, hash: u64) -> u32;
    /// Stores the null key.
    fn add_null(&mut self, hash: u64) -> u32;
}

struct WordSide<'a> {
    values: &'a [u64],
    stored: &'a mut Vec<u64>,
    numbers: Numbers<'a>,
}

impl WordSide<'_> {
    fn put(&mut self, word: u64, hash: u64) -> u32 {
        let (id, again) = self.numbers.give(hash);
        if again {
            self.stored[id as usize] = word
        } else {
            self.stored.push(word)
        }
        id
    }
}

impl Side for WordSide<'_> {
    #[inline]
    fn same(&self, _: u32, _: usize) -> bool {
        true // the hash is a bijection
    }
    fn add(&mut self, row: usize, hash: u64) -> u32 {
        self.put(self.values[row], hash)
    }
    fn add_null(&mut self, hash: u64) -> u32 {
        self.put(0, hash)
    }
}

struct ByteSide<'a> {
    offsets: &'a [i32],
    values: &'a [u8],
    data: &'a mut Vec<u8>,
    spans: &'a mut Vec<Span>,
    numbers: Numbers<'a>,
}

impl<'a> ByteSide<'a> {
    #[inline]
    fn value(&self, row: usize) -> &'a [u8] {
        &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
    fn put(&mut self, bytes: &[u8], hash: u64) -> u32 {
        let span = Span { start: self.data.len() as u64, len: bytes.len() as u32 };
        self.data.extend_from_slice(bytes);
        let (id, again) = self.numbers.give(hash);
        if again {
            self.spans[id as usize] = span
        } else {
            self.spans.push(span)
        }
        id
    }
}

impl Side for ByteSide<'_> {
    #[inline]
    fn same(&self, id: u32, row: usize) -> bool {
        self.spans[id as usize].of(self.data) == self.value(row)
    }
    fn add(&mut self, row: usize, hash: u64) -> u32 {
        self.put(self.value(row), hash)
    }
    fn add_null(&mut self, hash: u64) -> u32 {
        self.put(&[], hash)
    }
}

/// Interns rows of which some may be null: the null key has a number but no entry.
fn intern_nullable(
    index: &mut Index,
    null: &mut u32,
    nulls: Option<&NullBuffer>,
    hashes: &[u64],
    rows: impl RowSet,
    ids: &mut Vec<u32>,
    mut side: impl Side,
) {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
        return index.intern(hashes, rows, ids, &mut side);
    };
    for position in 0..rows.len() {
        let row = rows.at(position);
        if nulls.is_valid(row) {
            index.intern(hashes, Stretch { first: row, rows: 1 }, ids, &mut side);
        } else {
            if *null == NONE {
                *null = side.add_null(hashes[row]);
            }
            ids.push(*null);
        }
    }
}

/// The first eight bytes as a number that orders as they do.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let taken = key.len().min(8);
    first[..taken].copy_from_slice(&key[..taken]);
    u64::from_be_bytes(first)
}

fn compact(data: &mut Vec<u8>, spans: &mut [Span]) {
    let mut packed = Vec::with_capacity(data.len() / 2);
    for span in spans {
        let start = packed.len() as u64;
        packed.extend_from_slice(span.of(data));
        span.start = start;
    }
    *data = packed;
}

impl Index {
    fn intern(&mut self, hashes: &[u64], rows: impl RowSet, ids: &mut Vec<u32>, side: &mut impl Side) {
        ids.reserve(rows.len());
        let mut position = 0;
        while position < rows.len() {
            let end = (position + BLOCK).min(rows.len());
            // Room for a whole block of new keys, so that the loop below never grows.
            self.reserve(end - position);
            let mask = self.entries.len() - 1;
            if self.entries.len() > FAR && end - position > 1 {
                // Reading the lines of a block one after the other, with nothing between that waits, overlaps their misses.
                let mut warm = 0;
                for at in position..end {
                    warm ^= self.entries[hashes[rows.at(at)] as usize & mask].id;
                }
                std::hint::black_box(warm);
            }
            let entries = self.entries.as_mut_slice();
            for at in position..end {
                let row = rows.at(at);
                let hash = hashes[row];
                let mut slot = hash as usize & mask;
                let id = loop {
                    let entry = entries[slot];
                    if entry.id == NONE {
                        let id = side.add(row, hash);
                        entries[slot] = Entry { hash, id };
                        self.used += 1;
                        break id;
                    }
                    if entry.hash == hash && side.same(entry.id, row) {
                        break entry.id;
                    }
                    slot = (slot + 1) & mask;
                };
                ids.push(id);
            }
            position = end;
        }
    }

    /// Room for more keys at a load of at most 5/8.
    fn reserve(&mut self, more: usize) {
        let wanted = (self.used + more) * 8 / 5 + 1;
        if wanted <= self.entries.len() {
            return;
        }
        let size = wanted.next_power_of_two().max(128);
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; size]);
        let mask = size - 1;
        for entry in old {
            if entry.id != NONE {
                let mut slot = entry.hash as usize & mask;
                while self.entries[slot].id != NONE {
                    slot = (slot + 1) & mask;
                }
                self.entries[slot] = entry;
            }
        }
    }

    /// Removes an entry and moves those behind it back, so that no probe meets a gap.
    fn remove(&mut self, hash: u64, id: u32) {
        let mask = self.entries.len() - 1;
        let mut gap = hash as usize & mask;
        while self.entries[gap].id != id {
            assert!(self.entries[gap].id != NONE, "a number in use has an entry");
            gap = (gap + 1) & mask;
        }
        let mut next = (gap + 1) & mask;
        while self.entries[next].id != NONE {
            let home = self.entries[next].hash as usize & mask;
            // May the entry stand in the gap? Yes unless its home lies behind the gap, going round.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                self.entries[gap] = self.entries[next];
                gap = next;
            }
            next = (next + 1) & mask;
        }
        self.entries[gap] = EMPTY;
        self.used -= 1;
    }

    fn reset(&mut self) {
        if self.used * 32 < self.entries.len() {
            self.entries.truncate((self.used * 8).next_power_of_two().max(128));
            self.entries.shrink_to_fit();
        }
        if self.used > 0 {
            self.entries.fill(EMPTY);
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::key_rows::KeyCodec;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[derive(Clone, Debug)]
    enum Act {
        Intern(Vec<Option<u16>>),
        Remove(usize),
        Reset,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let key = prop_oneof![1 => Just(None), 8 => (0..400u16).prop_map(Some), 2 => any::<u16>().prop_map(Some)];
        let act = prop_oneof![
            6 => prop::collection::vec(key, 0..200).prop_map(Act::Intern),
            8 => any::<usize>().prop_map(Act::Remove),
            1 => Just(Act::Reset),
        ];
        prop::collection::vec(act, 1..60)
    }

    fn run(acts: Vec<Act>, column: impl Fn(&[Option<u16>]) -> ArrayRef) {
        let codec = KeyCodec::new(&[column(&[]).data_type().clone()]).unwrap();
        let (mut table, mut model) = (KeyTable::new(), BTreeMap::<Option<u16>, u32>::new());
        for act in acts {
            match act {
                Act::Intern(keys) => {
                    let rows = codec.encode(&[column(&keys)], keys.len()).unwrap();
                    let hashes = rows.hashes();
                    let mut ids = Vec::new();
                    let half = keys.len() / 2;
                    table.intern(&rows, &hashes, Stretch { first: 0, rows: half }, &mut ids);
                    let rest: Vec<u32> = (half as u32..keys.len() as u32).collect();
                    table.intern(&rows, &hashes, rest.as_slice(), &mut ids);
                    assert_eq!(ids.len(), keys.len());
                    for ((key, id), hash) in keys.iter().zip(ids).zip(hashes) {
                        assert_eq!(*model.entry(*key).or_insert(id), id);
                        assert_eq!(table.hash(id), hash);
                    }
                }
                Act::Remove(which) if !model.is_empty() => {
                    let key = *model.keys().nth(which % model.len()).unwrap();
                    table.remove(model.remove(&key).unwrap());
                }
                Act::Remove(_) => {}
                Act::Reset => {
                    table.reset();
                    model.clear();
                }
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(model.values().collect::<std::collections::BTreeSet<_>>().len(), model.len(), "numbers are unique");
            assert!(model.values().all(|id| (*id as usize) < table.numbers()));
            let ids: Vec<u32> = model.values().copied().collect();
            if !ids.is_empty() {
                let keys: Vec<Option<u16>> = model.keys().copied().collect();
                assert_eq!(codec.decode(&table.rows(&ids))[0].as_ref(), column(&keys).as_ref());
            }
        }
        assert!(table.bytes() < 1 << 20);
    }

    proptest! {
        #[test]
        fn words_behave_as_a_map(acts in acts()) {
            run(acts, |keys| Arc::new(keys.iter().map(|key| key.map(i64::from)).collect::<Int64Array>()));
        }

        #[test]
        fn text_behaves_as_a_map(acts in acts()) {
            run(acts, |keys| Arc::new(keys.iter().map(|key| key.map(|key| format!("k{key}"))).collect::<StringArray>()));
        }
    }

    #[test]
    fn removed_bytes_are_reclaimed() {
        let codec = KeyCodec::new(&[arrow::datatypes::DataType::Utf8]).unwrap();
        let mut table = KeyTable::new();
        for round in 0..200 {
            let keys: Vec<String> = (0..100).map(|key| format!("{round}-{key}-{}", "x".repeat(100))).collect();
            let rows = codec.encode(&[Arc::new(StringArray::from(keys)) as ArrayRef], 100).unwrap();
            let mut ids = Vec::new();
            table.intern(&rows, &rows.hashes(), Stretch { first: 0, rows: 100 }, &mut ids);
            assert_eq!(table.rows(&ids), rows);
            ids.iter().for_each(|id| table.remove(*id));
        }
        assert_eq!((table.len(), table.numbers()), (0, 100));
        assert!(table.bytes() < 400_000, "{} bytes", table.bytes());
    }
}
