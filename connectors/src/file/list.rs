//! Which files a path means.

use std::path::Path;

use super::Format;
use crate::io::reason;

/// How a file's bytes are packed, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The packing, and the path without its ending.
    pub(super) fn of_path(path: &str) -> (Self, &str) {
        for (ending, compression) in [(".gz", Self::Gzip), (".zst", Self::Zstd)] {
            if let Some(stem) = path.strip_suffix(ending) {
                return (compression, stem);
            }
        }
        (Self::None, path)
    }
}

/// One file of a source.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) compression: Compression,
}

/// The files of a path, sorted: the file itself; the matches of a glob; the files of a folder that are not hidden and, if the
/// format was given or the folder holds other things too, whose ending tells a format.
pub(super) fn list(path: &str, format: Option<Format>) -> Result<Vec<Listed>, String> {
    let as_is = Path::new(path);
    let mut paths = Vec::new();
    if as_is.is_dir() {
        let refused = |error: std::io::Error| format!("folder \"{path}\" cannot be read: {}", reason(&error));
        for entry in std::fs::read_dir(as_is).map_err(refused)? {
            let entry = entry.map_err(refused)?.path();
            let hidden = entry.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '_']));
            let name = entry.display().to_string();
            let known = Format::of_path(&name);
            if !hidden && entry.is_file() && known.is_some() && (format.is_none() || known == format) {
                paths.push(name);
            }
        }
        if paths.is_empty() {
            return Err(match format {
                Some(format) => format!("folder \"{path}\" holds no {} file", format.name()),
                None => format!("folder \"{path}\" holds no file whose ending tells a format"),
            });
        }
    } else if as_is.exists() || !path.contains(['*', '?', '[']) {
        paths.push(path.to_string());
    } else {
        let wrong = |error: glob::PatternError| format!("\"{path}\" is no pattern for files: {}", error.msg);
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        for entry in glob::glob_with(path, options).map_err(wrong)? {
            let entry = entry.map_err(|error| format!("\"{}\" cannot be read: {}", error.path().display(), reason(error.error())))?;
            if entry.is_file() {
                paths.push(entry.display().to_string());
            }
        }
        if paths.is_empty() {
            return Err(format!("no file matches \"{path}\""));
        }
    }
    paths.sort();
    paths.into_iter().map(listed).collect()
}

fn listed(path: String) -> Result<Listed, String> {
    // Opened, not only asked for: a file that may not be read is told while planning.
    let facts = std::fs::File::open(&path).and_then(|file| file.metadata());
    let facts = facts.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("file \"{path}\" does not exist"),
        _ => format!("file \"{path}\" cannot be read: {}", reason(&error)),
    })?;
    let (compression, _) = Compression::of_path(&path);
    Ok(Listed { bytes: facts.len(), compression, path })
}
