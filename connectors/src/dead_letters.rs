//! Bad rows as newline-delimited JSON with the fields of `LetterColumn`: `raw_base64` stands in place of `raw` where the bytes are no text,
//! and what is not known of a letter is left out.

use std::fs::{File, OpenOptions};
use std::io::Write;

use base64::Engine;

use crate::io::{DeadLetter, DeadLetters};
use crate::source::ConnectorError;

/// Bytes that may wait before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// A file that takes bad rows. Lines of several writers to one file do not mix: each write is of whole lines, at the end.
pub(crate) struct DeadLetterFile {
    path: String,
    file: File,
    buffer: Vec<u8>,
}

impl DeadLetterFile {
    pub(crate) fn open(path: &str) -> Result<Self, ConnectorError> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| ConnectorError::io(path, &error))?;
        Ok(Self { path: path.into(), file, buffer: Vec::new() })
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    id: String,
    at: String,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    stage: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a str>,
    plan: String,
}

impl DeadLetters for DeadLetterFile {
    fn write(&mut self, letter: &DeadLetter<'_>) -> Result<(), ConnectorError> {
        write_json(letter, &mut self.buffer).map_err(|error| ConnectorError::new(&self.path, error))?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.file.write_all(&self.buffer).map_err(|error| ConnectorError::io(&self.path, &error))?;
        self.buffer.clear();
        Ok(())
    }
}

/// Appends a letter as one JSON object, without a line break: what a dead letter is, wherever it is written.
pub(crate) fn write_json(letter: &DeadLetter<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let text = letter.raw.and_then(|raw| std::str::from_utf8(raw).ok());
    let bytes = letter.raw.filter(|_| text.is_none());
    let line = Line {
        id: letter.id_text(),
        at: time(letter.at_us),
        source: letter.source,
        partition: letter.partition.as_deref(),
        offset: letter.offset,
        stage: letter.stage.name(),
        reason: letter.reason,
        raw: text,
        raw_base64: bytes.map(|raw| base64::engine::general_purpose::STANDARD.encode(raw)),
        row: letter.row,
        plan: letter.plan_text(),
    };
    serde_json::to_writer(out, &line)
}

fn time(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us).map_or_else(|| us.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Stage;
    use tidemark_planner::plan::LetterColumn;

    const READ: DeadLetter<'_> = DeadLetter {
        id: 0x4711,
        at_us: 1,
        source: "t",
        partition: Some(std::borrow::Cow::Borrowed("t.ndjson")),
        offset: Some(17),
        stage: Stage::Decode,
        reason: "expected a value",
        raw: Some(b"{\"a\": \"\xc3\xa9\", oops"),
        row: None,
        plan: 10,
    };

    #[test]
    fn bad_rows_are_appended_as_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bad.ndjson").display().to_string();
        let no_text = DeadLetter { raw: Some(b"\xff\xfe"), ..READ };
        let result =
            DeadLetter { source: "n3", partition: None, offset: None, stage: Stage::Compute, raw: None, row: Some("{a: 1}"), ..READ };
        for letter in [READ, no_text, result] {
            let mut letters = DeadLetterFile::open(&path).expect("a writable folder");
            letters.write(&letter).expect("written");
            letters.flush().expect("flushed");
        }
        let head = "{\"id\":\"0000000000004711\",\"at\":\"1970-01-01T00:00:00.000001Z\",\"source\":";
        let expected = [
            "\"t\",\"partition\":\"t.ndjson\",\"offset\":17,\"stage\":\"decode\",\"reason\":\"expected a value\",\"raw\":\"{\\\"a\\\": \\\"é\\\", oops\"",
            "\"t\",\"partition\":\"t.ndjson\",\"offset\":17,\"stage\":\"decode\",\"reason\":\"expected a value\",\"raw_base64\":\"//4=\"",
            "\"n3\",\"stage\":\"compute\",\"reason\":\"expected a value\",\"row\":\"{a: 1}\"",
        ]
        .map(|tail| format!("{head}{tail},\"plan\":\"000000000000000a\"}}\n"));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), expected.concat());
    }

    #[test]
    fn a_letter_has_the_columns_of_the_relation() {
        let mut line = Vec::new();
        write_json(&DeadLetter { row: Some("{a: 1}"), ..READ }, &mut line).expect("written");
        let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let names: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = LetterColumn::ALL.map(LetterColumn::name);
        expected.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = DeadLetterFile::open("/nowhere/at/all.ndjson").err().expect("refused");
        assert_eq!(error.to_string(), "/nowhere/at/all.ndjson: no such file or directory");
    }
}
