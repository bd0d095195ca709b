//! The schema of newline-delimited JSON.

use arrow::datatypes::Schema;

use super::{Kind, join_fields, to_fields};
use crate::format::fault::{Fallible, Fault};
use crate::format::ndjson::{Block, DEPTH_MAX, Index, no_value, number_end, skip_value, split_point, unescape};

/// The schema of newline-delimited JSON, from its first bytes. `complete`: the sample is the whole file, so its last line
/// counts even without a newline. Bad lines are passed over: they become row errors when the file is read.
///
/// # Errors
/// One sentence, when the sample holds no record with a field.
pub fn infer_ndjson(sample: &[u8], complete: bool) -> Result<Schema, String> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let sample = if complete { sample } else { &sample[..split_point(sample).unwrap_or(sample.len())] };
    let (mut fields, mut records, mut first_fault) = (Vec::new(), 0, None);
    let mut index = Index::default();
    for line in sample.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match record(line, &mut index) {
            Ok(found) => {
                records += 1;
                fields = join_fields(fields, found);
            }
            Err(fault) => {
                first_fault.get_or_insert(fault);
            }
        }
    }
    match first_fault {
        Some(fault) if records == 0 => Err(format!("no record to infer columns from: {}", fault.sentence())),
        None if records == 0 => Err("there is no record to infer columns from".into()),
        _ if fields.is_empty() => Err("the first records have no columns".into()),
        _ => Ok(Schema::new(to_fields(&fields))),
    }
}

fn record(line: &[u8], index: &mut Index) -> Fallible<Vec<(String, Kind)>> {
    let text = simdutf8::basic::from_utf8(line).map_err(|_| Fault::new("invalid UTF-8"))?;
    let block = Block::lines(text, index);
    // Checked as a whole first: what follows may then trust it.
    let start = block.skip_space(0);
    let end = block.skip_space(skip_value(&block, start, 0, &mut String::new())?);
    if end < line.len() || block.peek(start) != b'{' {
        return Err(Fault::new("a line is not one JSON object"));
    }
    match kind(&block, start, 0)? {
        (Kind::Struct(fields), _) => Ok(fields),
        _ => Err(Fault::new("a line is not one JSON object")),
    }
}

/// The kind of the value at a place, and one past its end. The text is known to be JSON.
fn kind(block: &Block<'_>, at: usize, depth: usize) -> Fallible<(Kind, usize)> {
    assert!(depth <= DEPTH_MAX, "a line was checked before its kinds are told");
    let open = block.peek(at);
    match open {
        b'"' => {
            let end = block.string_end(at + 1)?;
            Ok((Kind::of_text(&block.text[at + 1..end]), end + 1))
        }
        b'{' => {
            let mut fields: Vec<(String, Kind)> = Vec::new();
            let mut at = block.skip_space(at + 1);
            while block.peek(at) == b'"' {
                let end = block.string_end(at + 1)?;
                let mut name = String::new();
                unescape(&block.text[at + 1..end], &mut name)?;
                let colon = block.skip_space(end + 1);
                let (found, end) = kind(block, block.skip_space(colon + 1), depth + 1)?;
                // Of equal keys the last wins.
                match fields.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = found,
                    None => fields.push((name, found)),
                }
                at = block.skip_space(end);
                if block.peek(at) == b',' {
                    at = block.skip_space(at + 1);
                }
            }
            Ok((Kind::Struct(fields), at + 1))
        }
        b'[' => {
            let mut item = Kind::Null;
            let mut at = block.skip_space(at + 1);
            while block.peek(at) != b']' {
                let (found, end) = kind(block, at, depth + 1)?;
                item = item.join(found);
                at = block.skip_space(end);
                if block.peek(at) == b',' {
                    at = block.skip_space(at + 1);
                }
            }
            Ok((Kind::List(Box::new(item)), at + 1))
        }
        b't' => Ok((Kind::Boolean, at + 4)),
        b'f' => Ok((Kind::Boolean, at + 5)),
        b'n' => Ok((Kind::Null, at + 4)),
        _ => {
            let end = number_end(block, at).ok_or_else(|| no_value(block, at))?;
            Ok((Kind::of_number(&block.bytes[at..end]), end))
        }
    }
}
