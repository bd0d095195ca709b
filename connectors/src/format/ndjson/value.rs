//! From JSON to columns, directed by the type of the column.

use arrow::datatypes::TimeUnit;

use super::guess::SKIP;
use super::index::Block;
use super::skip::{self, expect, found, no_value, number_end, skip_value, word};
use super::string::unescape;
use super::{DEPTH_MAX, NdjsonOptions};
use crate::format::column::{Column, Lists, Records, Slot};
use crate::format::fault::{Fallible, Fault};
use crate::format::parse::number::integer_at;

/// What reading values needs besides the text.
#[derive(Debug)]
pub(crate) struct Reader {
    timestamp_unit: TimeUnit,
    fail_on_missing_field: bool,
    /// Brackets around the value that is read.
    depth: usize,
    /// Texts whose escapes are undone.
    scratch: String,
}

impl Reader {
    pub(crate) fn new(options: &NdjsonOptions) -> Self {
        let NdjsonOptions { timestamp_unit, fail_on_missing_field, .. } = *options;
        Self { timestamp_unit, fail_on_missing_field, depth: 0, scratch: String::new() }
    }

    /// Reads the object at a place, whose brace is known to be there, as a record. After a fault the record is unfinished,
    /// and the caller cuts it off.
    pub(crate) fn object(&mut self, block: &Block<'_>, at: usize, records: &mut Records) -> Fallible<usize> {
        if self.depth >= DEPTH_MAX {
            return Err(skip::too_deep());
        }
        self.depth += 1;
        let end = self.fields(block, at, records);
        self.depth -= 1;
        end
    }

    #[inline]
    fn fields(&mut self, block: &Block<'_>, start: usize, records: &mut Records) -> Fallible<usize> {
        records.begun += 1;
        let begun = records.begun;
        let (mut at, mut next, mut filled) = (start, 0, 0);
        // Values of a wrong type, forgiven if their key comes again.
        let mut wrong: Vec<(u32, Box<Fault>)> = Vec::new();
        let end = loop {
            let (slot, value) = match records.guess.step(block.bytes, at, &mut next) {
                // Spaces may be more than last time.
                Some((slot, value)) if block.peek(value) <= b' ' => (slot, block.skip_space(value)),
                Some(step) => step,
                None => match self.key(block, at, at == start, records, &mut next)? {
                    Key::Field(slot, value) => (slot, value),
                    Key::End(end) => break end,
                },
            };
            at = if slot == SKIP {
                skip_value(block, value, self.depth, &mut self.scratch)?
            } else {
                let (len, number) = (records.len(), slot);
                let slot = &mut records.slots[slot as usize];
                if slot.seen == begun {
                    // The key was there already: the last one wins.
                    slot.column.truncate(len);
                    wrong.retain(|(known, _)| *known != number);
                } else {
                    slot.seen = begun;
                    filled += 1;
                }
                match self.value(block, value, &mut slot.column, slot.nullable) {
                    Ok(end) => end,
                    Err(fault) => {
                        slot.column.truncate(len);
                        let fault = fault.within(&slot.name);
                        let Ok(end) = skip_value(block, value, self.depth, &mut self.scratch) else { return Err(fault) };
                        wrong.push((number, fault));
                        end
                    }
                }
            };
        };
        if let Some((_, fault)) = wrong.into_iter().next() {
            return Err(fault);
        }
        if filled < records.slots.len() {
            self.fill(records, begun)?;
        }
        records.close();
        Ok(end)
    }

    /// Reads from the end of a value to the next: white space, comma or brace, key, colon.
    #[inline(never)]
    fn key(&mut self, block: &Block<'_>, at: usize, first: bool, records: &mut Records, next: &mut usize) -> Fallible<Key> {
        let mut key = block.skip_space(at);
        if !first && block.peek(key) == b'}' {
            return Ok(Key::End(key + 1));
        }
        if !first && block.peek(key) != b',' {
            return Err(Fault::new(format!("expected ',' or '}}', found {}", found(block, key))));
        }
        key = block.skip_space(key + 1);
        if first && block.peek(key) == b'}' {
            return Ok(Key::End(key + 1));
        }
        if block.peek(key) != b'"' {
            return Err(Fault::new(format!("expected a key, found {}", found(block, key))));
        }
        let end = block.string_end(key + 1)?;
        let raw = &block.text[key + 1..end];
        let slot = if block.has_escapes(key + 1, end) {
            self.scratch.clear();
            unescape(raw, &mut self.scratch)?;
            records.guess.find(&records.slots, &self.scratch)
        } else {
            records.guess.find(&records.slots, raw)
        };
        let colon = block.skip_space(end + 1);
        expect(block, colon, b':')?;
        let value = block.skip_space(colon + 1);
        records.guess.learn(&block.bytes[at..value], slot, next);
        Ok(Key::Field(slot, value))
    }

    /// Null where a record has no such key.
    #[inline(never)]
    fn fill(&self, records: &mut Records, begun: u64) -> Fallible<()> {
        for Slot { name, nullable, column, seen } in &mut records.slots {
            if *seen != begun {
                if !*nullable || self.fail_on_missing_field {
                    return Err(Fault::new("is missing").within(name));
                }
                column.push_null();
            }
        }
        Ok(())
    }

    /// Reads the value at a place into a column and returns one past its end.
    #[inline(always)]
    pub(crate) fn value(&mut self, block: &Block<'_>, at: usize, column: &mut Column, nullable: bool) -> Fallible<usize> {
        match column {
            Column::Int64(fixed) => {
                if let Some((value, end)) = integer_at(block.bytes, at)
                    && !matches!(block.peek(end), b'.' | b'e' | b'E')
                {
                    fixed.push(value);
                    return Ok(end);
                }
            }
            Column::Text(varying) if block.peek(at) == b'"' => {
                let end = block.string_end(at + 1)?;
                if !block.has_escapes(at + 1, end)
                    && let Some(text) = block.text.get(at + 1..end)
                {
                    varying.push(text)?;
                    return Ok(end + 1);
                }
            }
            Column::Timestamp(..) if block.peek(at) == b'"' => {
                let end = block.string_end(at + 1)?;
                column.push_timestamp(&block.bytes[at + 1..end], self.timestamp_unit)?;
                return Ok(end + 1);
            }
            _ => {}
        }
        self.any_value(block, at, column, nullable)
    }

    #[inline(never)]
    fn any_value(&mut self, block: &Block<'_>, at: usize, column: &mut Column, nullable: bool) -> Fallible<usize> {
        let byte = block.peek(at);
        match (byte, &mut *column) {
            (b'n', _) => {
                let end = word(block, at, "null")?;
                if !nullable {
                    return Err(Fault::new("is null, and the column is NOT NULL"));
                }
                column.push_null();
                Ok(end)
            }
            (b'{', Column::Struct(records)) => self.object(block, at, records),
            (b'{', Column::Map(lists)) => self.map(block, at, lists),
            (b'[', Column::List(lists)) => self.list(block, at, lists),
            (b'"', Column::Boolean(_) | Column::Struct(_) | Column::List(_) | Column::Map(_) | Column::Null(_)) => {
                Err(column.expected(found(block, at).as_bytes()))
            }
            (b'"', _) => {
                let end = block.string_end(at + 1)?;
                let raw = &block.text[at + 1..end];
                if block.has_escapes(at + 1, end) {
                    self.scratch.clear();
                    unescape(raw, &mut self.scratch)?;
                    column.push_text(&self.scratch, self.timestamp_unit)?;
                } else {
                    column.push_text(raw, self.timestamp_unit)?;
                }
                Ok(end + 1)
            }
            (b'{' | b'[' | b't' | b'f' | b'-' | b'0'..=b'9', Column::Text(varying)) => {
                let end = skip::check_value(block, at, self.depth, &mut self.scratch)?;
                varying.push(&block.text[at..end])?;
                Ok(end)
            }
            (b't', Column::Boolean(fixed)) => {
                let end = word(block, at, "true")?;
                fixed.push(true);
                Ok(end)
            }
            (b'f', Column::Boolean(fixed)) => {
                let end = word(block, at, "false")?;
                fixed.push(false);
                Ok(end)
            }
            (b'-' | b'0'..=b'9', _) => {
                let end = number_end(block, at).ok_or_else(|| no_value(block, at))?;
                column.push_number(&block.bytes[at..end], self.timestamp_unit)?;
                Ok(end)
            }
            (b'{' | b'[' | b't' | b'f', _) => {
                // Wrong type, or no JSON at all: say which.
                skip::check_value(block, at, self.depth, &mut self.scratch)?;
                Err(column.expected(found(block, at).as_bytes()))
            }
            _ => Err(no_value(block, at)),
        }
    }

    fn list(&mut self, block: &Block<'_>, start: usize, lists: &mut Lists) -> Fallible<usize> {
        if self.depth >= DEPTH_MAX {
            return Err(skip::too_deep());
        }
        self.depth += 1;
        let end = self.elements(block, start, lists);
        self.depth -= 1;
        let end = end?;
        lists.close()?;
        Ok(end)
    }

    fn elements(&mut self, block: &Block<'_>, start: usize, lists: &mut Lists) -> Fallible<usize> {
        let mut at = block.skip_space(start + 1);
        if block.peek(at) == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(block, at, &mut lists.child, lists.child_nullable)?;
            at = block.skip_space(at);
            match block.peek(at) {
                b',' => at = block.skip_space(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(Fault::new(format!("expected ',' or ']', found {}", found(block, at)))),
            }
        }
    }

    fn map(&mut self, block: &Block<'_>, start: usize, lists: &mut Lists) -> Fallible<usize> {
        if self.depth >= DEPTH_MAX {
            return Err(skip::too_deep());
        }
        self.depth += 1;
        let end = self.entries(block, start, lists);
        self.depth -= 1;
        let end = end?;
        lists.close()?;
        Ok(end)
    }

    /// First finds all entries, then reads those whose key does not come again.
    fn entries(&mut self, block: &Block<'_>, start: usize, lists: &mut Lists) -> Fallible<usize> {
        let mut entries: Vec<(String, usize, usize)> = Vec::new();
        let mut at = block.skip_space(start + 1);
        let end = loop {
            if entries.is_empty() && block.peek(at) == b'}' {
                break at + 1;
            }
            expect(block, at, b'"')?;
            let key_end = block.string_end(at + 1)?;
            let mut key = String::new();
            unescape(&block.text[at + 1..key_end], &mut key)?;
            at = block.skip_space(key_end + 1);
            expect(block, at, b':')?;
            let value = block.skip_space(at + 1);
            let value_end = skip_value(block, value, self.depth, &mut self.scratch)?;
            entries.push((key, value, value_end));
            at = block.skip_space(value_end);
            match block.peek(at) {
                b',' => at = block.skip_space(at + 1),
                b'}' => break at + 1,
                _ => return Err(Fault::new(format!("expected ',' or '}}', found {}", found(block, at)))),
            }
        };
        let last: std::collections::HashMap<&str, usize> =
            entries.iter().enumerate().map(|(place, (key, _, _))| (key.as_str(), place)).collect();
        let Column::Struct(records) = &mut *lists.child else { return Err(Fault::new("a map without entries")) };
        for (place, (key, value, value_end)) in entries.iter().enumerate() {
            if last.get(key.as_str()) != Some(&place) {
                continue;
            }
            let [key_slot, value_slot] = &mut records.slots[..] else { return Err(Fault::new("a map without entries")) };
            key_slot.column.push_text(key, self.timestamp_unit).map_err(|fault| fault.within(key))?;
            let end = self.any_value(block, *value, &mut value_slot.column, value_slot.nullable).map_err(|fault| fault.within(key))?;
            assert!(end == *value_end, "a value is read to where it was found to end");
            records.close();
        }
        Ok(end)
    }
}

enum Key {
    /// A field, or [`SKIP`], and where its value begins.
    Field(u32, usize),
    /// The object ends before here.
    End(usize),
}
