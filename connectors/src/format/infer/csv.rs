//! The schema of CSV.

use arrow::datatypes::Schema;

use super::{Kind, to_fields};
use crate::format::csv::{CsvLayout, CsvOptions, CsvSplitter, Dialect, Stops, is_comment, line_end, texts};

/// The schema of CSV, from its first bytes; names from the header or `column1`, `column2`, …. `complete`: the sample is the
/// whole file. Records with another number of fields are passed over: they become row errors when the file is read.
///
/// # Errors
/// One sentence, when the sample holds no record, or no header where there should be one.
pub fn infer_csv(sample: &[u8], options: &CsvOptions, complete: bool) -> Result<Schema, String> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let end = if complete { sample.len() } else { CsvSplitter::new(options).split_point(sample).unwrap_or(sample.len()) };
    let sample = &sample[..end];
    let dialect = Dialect::new(options);
    let mut at = 0;
    let mut columns: Option<Vec<(String, Kind)>> = None;
    if options.header {
        while is_comment(sample, dialect, at) {
            at = line_end(sample, at);
        }
        let end = CsvSplitter::new(options).first_end(&sample[at..]).map_or(sample.len(), |end| at + end);
        if sample[at..end].trim_ascii().is_empty() {
            return Err("there is no header to infer columns from".into());
        }
        let layout = CsvLayout::from_header(&sample[at..end], options)?;
        columns = Some(layout.names().iter().map(|name| (name.clone(), Kind::Null)).collect());
        at = end;
    }
    let text = match simdutf8::basic::from_utf8(&sample[at..]) {
        Ok(text) => text,
        Err(_) => std::str::from_utf8(&sample[at..])
            .or_else(|error| std::str::from_utf8(&sample[at..at + error.valid_up_to()]))
            .map_err(|error| error.to_string())?,
    };
    let bytes = text.as_bytes();
    let mut stops = Stops::default();
    stops.build(bytes, dialect);
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_comment(bytes, dialect, at) {
            at = line_end(bytes, at);
            continue;
        }
        fields.clear();
        match texts(text, &stops, dialect, at, &mut fields) {
            Ok(end) => at = end,
            Err(_) => {
                at = line_end(bytes, at);
                continue;
            }
        }
        if matches!(&fields[..], [(only, false)] if only.is_empty()) {
            continue;
        }
        let columns = columns.get_or_insert_with(|| (1..=fields.len()).map(|number| (format!("column{number}"), Kind::Null)).collect());
        if fields.len() == columns.len() {
            for ((_, kind), (field, quoted)) in columns.iter_mut().zip(&fields) {
                if *field != options.null || *quoted && !field.is_empty() {
                    let known = std::mem::replace(kind, Kind::Null);
                    *kind = known.join(of_field(field));
                }
            }
        }
    }
    match columns {
        Some(columns) => Ok(Schema::new(to_fields(&columns))),
        None => Err("there is no record to infer columns from".into()),
    }
}

/// The kind of a field. Numbers that begin with zeros are codes, not numbers.
fn of_field(field: &str) -> Kind {
    let trimmed = field.trim_ascii();
    if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") {
        return Kind::Boolean;
    }
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed).as_bytes();
    let padded = matches!(digits, [b'0', b'0'..=b'9', ..]);
    let plain = digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if plain && !padded && crate::format::parse::number::double(trimmed.as_bytes(), false).is_ok() {
        return Kind::of_number(trimmed.as_bytes());
    }
    Kind::of_text(trimmed)
}
