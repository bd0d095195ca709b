//! Bad rows as newline-delimited JSON: `{id, at, source, partition, offset, stage, reason, raw, plan}`, with `raw_base64` in place of
//! `raw` where the bytes are no text, and `row` where a row or result failed, of which the bytes read are not known any more.

use std::fs::{File, OpenOptions};
use std::io::Write;

use base64::Engine;

use crate::io::{DeadLetter, DeadLetters, Stage};
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
    id: &'a str,
    at: String,
    source: &'a str,
    partition: &'a str,
    offset: u64,
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
        let error = letter.error;
        let text = std::str::from_utf8(&error.raw).ok();
        // What was read is told from what was made of it: only that can be read again.
        let (raw, row) = if letter.stage == Stage::Decode { (text, None) } else { (None, text) };
        let raw_base64 = text.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(&error.raw));
        let line = Line {
            id: letter.id,
            at: time(letter.at_us),
            source: letter.source,
            partition: letter.partition,
            offset: error.offset,
            stage: letter.stage.name(),
            reason: &error.reason,
            raw,
            raw_base64,
            row,
            plan: format!("{:016x}", letter.plan),
        };
        serde_json::to_writer(&mut self.buffer, &line).map_err(|error| ConnectorError::new(&self.path, error))?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.file.write_all(&self.buffer).map_err(|error| ConnectorError::io(&self.path, &error))?;
        self.buffer.clear();
        Ok(())
    }
}

fn time(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us).map_or_else(|| us.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::RowError;

    #[test]
    fn bad_rows_are_appended_as_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bad.ndjson").display().to_string();
        for (offset, raw, stage) in [
            (0, &b"{\"a\": \"\xc3\xa9\", oops"[..], Stage::Decode),
            (17, &b"\xff\xfe"[..], Stage::Decode),
            (30, b"{a: 1}", Stage::Evaluate),
        ] {
            let mut letters = DeadLetterFile::open(&path).expect("a writable folder");
            let error = RowError { offset, raw: raw.to_vec(), reason: "expected a value".into() };
            let letter = DeadLetter { id: "4711", at_us: 1, source: "t", partition: "t.ndjson", stage, error: &error, plan: 10 };
            letters.write(&letter).expect("written");
            letters.flush().expect("flushed");
        }
        let head = "{\"id\":\"4711\",\"at\":\"1970-01-01T00:00:00.000001Z\",\"source\":\"t\",\"partition\":\"t.ndjson\",\"offset\":";
        let expected = [
            "0,\"stage\":\"decode\",\"reason\":\"expected a value\",\"raw\":\"{\\\"a\\\": \\\"é\\\", oops\"",
            "17,\"stage\":\"decode\",\"reason\":\"expected a value\",\"raw_base64\":\"//4=\"",
            "30,\"stage\":\"evaluate\",\"reason\":\"expected a value\",\"row\":\"{a: 1}\"",
        ]
        .map(|tail| format!("{head}{tail},\"plan\":\"000000000000000a\"}}\n"));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), expected.concat());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = DeadLetterFile::open("/nowhere/at/all.ndjson").err().expect("refused");
        assert_eq!(error.to_string(), "/nowhere/at/all.ndjson: no such file or directory");
    }
}
