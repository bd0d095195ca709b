//! Bad rows as newline-delimited JSON: `{source, partition, offset, reason, raw}`, with `raw_base64` in place of `raw` where the
//! bytes are no text.

use std::fs::{File, OpenOptions};
use std::io::Write;

use base64::Engine;

use crate::io::DeadLetters;
use crate::source::{ConnectorError, RowError};

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
struct Letter<'a> {
    source: &'a str,
    partition: &'a str,
    offset: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

impl DeadLetters for DeadLetterFile {
    fn write(&mut self, source: &str, partition: &str, error: &RowError) -> Result<(), ConnectorError> {
        let raw = std::str::from_utf8(&error.raw).ok();
        let raw_base64 = raw.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(&error.raw));
        let letter = Letter { source, partition, offset: error.offset, reason: &error.reason, raw, raw_base64 };
        serde_json::to_writer(&mut self.buffer, &letter).map_err(|error| ConnectorError::new(&self.path, error))?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.file.write_all(&self.buffer).map_err(|error| ConnectorError::io(&self.path, &error))?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_appended_as_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bad.ndjson").display().to_string();
        for (offset, raw) in [(0, &b"{\"a\": \"\xc3\xa9\", oops"[..]), (17, &b"\xff\xfe"[..])] {
            let mut letters = DeadLetterFile::open(&path).expect("a writable folder");
            let error = RowError { offset, raw: raw.to_vec(), reason: "expected a value".into() };
            letters.write("trades", "trades.ndjson", &error).expect("written");
            letters.flush().expect("flushed");
        }
        let expected = "{\"source\":\"trades\",\"partition\":\"trades.ndjson\",\"offset\":0,\"reason\":\"expected a value\",\"raw\":\"{\\\"a\\\": \\\"é\\\", oops\"}\n\
             {\"source\":\"trades\",\"partition\":\"trades.ndjson\",\"offset\":17,\"reason\":\"expected a value\",\"raw_base64\":\"//4=\"}\n";
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), expected);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = DeadLetterFile::open("/nowhere/at/all.ndjson").err().expect("refused");
        assert_eq!(error.to_string(), "/nowhere/at/all.ndjson: no such file or directory");
    }
}
