//! # Programs
//!
//! `tidemark compile` makes one file that runs a pipeline by itself: a copy of this program with the checked statements behind it.
//! The operating system starts the copy as it would start this program; at its start the copy looks at its own end.
//!
//! At the end of the file stand the payload (JSON), its BLAKE3 hash, its length, and a mark:
//!
//! ```text
//! code … | payload | hash of payload (32) | length of payload (8, little endian) | mark (16)
//! ```

mod program;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tidemark_dataflow::cluster::{digest, digest_of};

use crate::args::{StatementArgs, StdoutFormat};
use crate::exit::{self, Color, Exit};
use crate::session::Session;

pub(crate) use program::command as run_program;

/// The last bytes of a program.
const MARK: [u8; 16] = *b"tidemark program";
const TRAILER_BYTES: u64 = 32 + 8 + 16;
/// How the payload begins: its first field.
const PAYLOAD_START: &[u8] = b"{\"name\":";
/// Bytes of statements that a program may carry.
const PAYLOAD_BYTES_MAX: u64 = 900 << 10;

/// Arguments of `compile`.
#[derive(Args, Debug, Clone)]
pub(crate) struct CompileArgs {
    #[command(flatten)]
    pub(crate) statements: StatementArgs,
    /// The program to write [default: the file's name without .sql]
    #[arg(short = 'o', long, value_name = "PROGRAM")]
    pub(crate) output: Option<PathBuf>,
    /// Worker threads, unless the program is told otherwise
    #[arg(short = 'w', long, visible_alias = "threads", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Format of what is printed, unless the program is told otherwise
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<StdoutFormat>,
}

/// What a program carries.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Payload {
    /// The program's name.
    name: String,
    /// The statements.
    sql: String,
    /// The number of the plan that was checked.
    fingerprint: u64,
    /// Settings, as if SET stood before the statements.
    settings: Vec<(String, String)>,
    /// Values of `${NAME}` that hold unless others are given.
    variables: BTreeMap<String, String>,
    /// Names of all `${NAME}` in the statements.
    names: Vec<String>,
    workers: Option<u16>,
    format: Option<String>,
    /// What it was made with.
    version: String,
    /// Length and hash of the code before the payload.
    code_bytes: u64,
    code_hash: String,
}

/// `tidemark compile`.
pub(crate) fn command(args: &CompileArgs, color: Color) -> Exit {
    match write(args, color) {
        Ok(Some(told)) => {
            exit::tell(&told);
            Exit::Done
        }
        Ok(None) => Exit::Wrong,
        Err(message) => {
            exit::complain(&message, color);
            Exit::Wrong
        }
    }
}

fn write(args: &CompileArgs, color: Color) -> Result<Option<String>, String> {
    let session = Session::open(&args.statements, args.format, color)?;
    let program = match session.plan() {
        Ok(program) => program,
        Err(errors) => {
            session.complain(&errors);
            return Ok(None);
        }
    };
    session.warn(&program.warnings);
    if program.plan.is_none() {
        return Err(format!("{} holds no query or sink, so there is nothing to run", session.text.name));
    }
    let output = match (&args.output, &args.statements.file) {
        (Some(output), _) => output.clone(),
        (None, Some(file)) if file.file_stem().is_some() && file != Path::new("-") => PathBuf::from(file.file_stem().unwrap_or_default()),
        _ => return Err("name the program to write: -o PROGRAM".into()),
    };
    let same = |file: &PathBuf| matches!((file.canonicalize(), output.canonicalize()), (Ok(file), Ok(output)) if file == output);
    if args.statements.file.as_ref().is_some_and(same) {
        return Err(format!("{} holds the statements; name another file for the program: -o PROGRAM", output.display()));
    }
    let (code, code_bytes) = own_code()?;
    let payload = Payload {
        name: output.file_name().map_or_else(|| "program".into(), |name| name.to_string_lossy().into_owned()),
        sql: session.text.sql.clone(),
        fingerprint: program.fingerprint,
        settings: args.statements.settings.clone(),
        variables: args.statements.variables.iter().cloned().collect(),
        names: variable_names(&session)?,
        workers: args.workers,
        format: args.format.map(|format| format.name().to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        code_bytes,
        code_hash: own_code_hash()?,
    };
    for name in payload.variables.keys() {
        if !payload.names.contains(name) {
            return Err(no_such_variable(name, &payload.names));
        }
    }
    let bytes = payload_bytes(&payload)?;
    put(&output, code, &bytes).map_err(|error| format!("cannot write {}: {error}", output.display()))?;
    Ok(Some(format!(
        "wrote {}: plan {:016x}, {} bytes behind a copy of this program\n",
        output.display(),
        payload.fingerprint,
        bytes.len()
    )))
}

/// Writes the program beside its place and moves it there whole.
fn put(output: &Path, mut code: impl Read, payload: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut beside = output.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::options().write(true).create(true).truncate(true).mode(0o755).open(&beside).and_then(|mut file| {
        std::io::copy(&mut code, &mut file)?;
        file.write_all(payload)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&beside, output)).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// The payload with its trailer.
fn payload_bytes(payload: &Payload) -> Result<Vec<u8>, String> {
    let mut bytes = serde_json::to_vec(payload).map_err(|error| format!("the program cannot be written: {error}"))?;
    let length = bytes.len() as u64;
    if length > PAYLOAD_BYTES_MAX {
        return Err(format!("the statements are too long for a program: {length} bytes of at most {PAYLOAD_BYTES_MAX}"));
    }
    let hash = hash_bytes(&bytes);
    bytes.extend_from_slice(&hash);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&MARK);
    Ok(bytes)
}

fn hash_bytes(bytes: &[u8]) -> [u8; 32] {
    let text = digest(bytes);
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16).map_or(0, |digit| digit as u8);
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    hash
}

/// Names of all `${NAME}` in the statements.
fn variable_names(session: &Session) -> Result<Vec<String>, String> {
    let names = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let asked = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        session.variable(name)
    };
    tidemark_planner::parse::parse(&session.text.sql, &asked).map_err(|_| "the statements cannot be read again".to_owned())?;
    Ok(names.into_inner().into_iter().collect())
}

fn no_such_variable(name: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("there is no ${{{name}}} in the statements, nor any other variable, so -D {name}=... would change nothing");
    }
    format!("there is no ${{{name}}} in the statements; variables are {}", names.join(", "))
}

/// This program's file.
fn own_file() -> Result<File, String> {
    let path = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    // A program may have been moved or replaced while it runs: the link leads to the file that was started.
    let link = Path::new("/proc/self/exe");
    let file = if link.exists() { File::open(link) } else { File::open(&path) };
    file.map_err(|error| format!("this program cannot read itself at {}: {error}", path.display()))
}

/// The code of this program, without a payload: a reader, and how many bytes it gives.
fn own_code() -> Result<(std::io::Take<File>, u64), String> {
    let mut file = own_file()?;
    let carried = carried(&mut file)?;
    let cannot = |error: std::io::Error| format!("this program cannot read itself: {error}");
    let length = match carried {
        Some(payload) => payload.code_bytes,
        None => file.metadata().map_err(cannot)?.len(),
    };
    file.seek(SeekFrom::Start(0)).map_err(cannot)?;
    Ok((file.take(length), length))
}

/// The hash of the code of this program, without a payload.
pub(crate) fn own_code_hash() -> Result<String, String> {
    let (code, _) = own_code()?;
    digest_of(code).map_err(|error| format!("this program cannot read itself: {error}"))
}

/// What this program carries, if it was compiled.
///
/// # Errors
/// When it carries something that is damaged.
pub(crate) fn own_payload() -> Result<Option<Payload>, String> {
    carried(&mut own_file()?)
}

fn carried(file: &mut File) -> Result<Option<Payload>, String> {
    let cannot = |error: std::io::Error| format!("this program cannot read itself: {error}");
    let damaged = |what: &str| format!("this program is damaged: {what}; compile it again, or copy it again from where it came");
    let length = file.seek(SeekFrom::End(0)).map_err(cannot)?;
    if length < TRAILER_BYTES {
        return Ok(None);
    }
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.seek(SeekFrom::Start(length - TRAILER_BYTES)).and_then(|_| file.read_exact(&mut trailer)).map_err(cannot)?;
    if trailer[40..] != MARK {
        return match elf_bytes(file).map_err(cannot)? {
            Some(code_bytes) if code_bytes > length => Err(damaged("it is cut short")),
            Some(code_bytes) if begins_with(file, code_bytes, PAYLOAD_START).map_err(cannot)? => {
                Err(damaged("the end of what it carries is missing, or something stands behind it"))
            }
            _ => Ok(None),
        };
    }
    let payload_bytes = u64::from_le_bytes(trailer[32..40].try_into().expect("eight bytes"));
    if payload_bytes > PAYLOAD_BYTES_MAX || payload_bytes > length - TRAILER_BYTES {
        return Err(damaged("the length of what it carries cannot be right"));
    }
    let code_bytes = length - TRAILER_BYTES - payload_bytes;
    let mut bytes = vec![0; usize::try_from(payload_bytes).unwrap_or_default()];
    file.seek(SeekFrom::Start(code_bytes)).and_then(|_| file.read_exact(&mut bytes)).map_err(cannot)?;
    if hash_bytes(&bytes) != trailer[..32] {
        return Err(damaged("what it carries does not have its hash"));
    }
    let payload: Payload = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    if payload.code_bytes != code_bytes {
        return Err(damaged("its code does not have its length"));
    }
    Ok(Some(payload))
}

/// Length of an ELF file as its header tells it: up to the table of sections, which linkers put last. `None`: it is no such file.
fn elf_bytes(file: &mut File) -> std::io::Result<Option<u64>> {
    let mut head = [0; 64];
    file.seek(SeekFrom::Start(0))?;
    if file.read_exact(&mut head).is_err() || head[..6] != *b"\x7fELF\x02\x01" {
        return Ok(None);
    }
    let half = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let sections = u64::from_le_bytes(head[40..48].try_into().expect("eight bytes"));
    Ok(Some(sections.saturating_add(half(58) * half(60))).filter(|_| sections > 0))
}

fn begins_with(file: &mut File, at: u64, start: &[u8]) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let mut found = Vec::new();
    file.take(start.len() as u64).read_to_end(&mut found)?;
    Ok(found == start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(code: &[u8]) -> Payload {
        Payload {
            name: "trades".into(),
            sql: "SELECT 1".into(),
            fingerprint: u64::MAX,
            settings: vec![("workers".into(), "2".into())],
            variables: BTreeMap::from([("A".into(), "b".into())]),
            names: vec!["A".into()],
            workers: Some(2),
            format: None,
            version: "0".into(),
            code_bytes: code.len() as u64,
            code_hash: digest(code),
        }
    }

    #[test]
    fn what_is_put_behind_a_program_is_found_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let code = vec![7; 1000];
        let bytes = payload_bytes(&payload(&code)).unwrap();
        put(&path, &code[..], &bytes).unwrap();
        assert_eq!(carried(&mut File::open(&path).unwrap()).unwrap(), Some(payload(&code)));
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), code.len() + bytes.len());
        for at in [1000, 1010, whole.len() - 57, whole.len() - 40, whole.len() - 24, whole.len() - 20] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(carried(&mut File::open(&path).unwrap()).is_err(), "byte {at}");
        }
        std::fs::write(&path, &whole[1..]).unwrap();
        assert!(carried(&mut File::open(&path).unwrap()).unwrap_err().contains("its code"));
        std::fs::write(&path, &code).unwrap();
        assert_eq!(carried(&mut File::open(&path).unwrap()).unwrap(), None);
    }

    #[test]
    fn code_that_lost_the_end_of_what_it_carried_is_told_from_code_that_carries_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut code = vec![0; 1000];
        code[..6].copy_from_slice(b"\x7fELF\x02\x01");
        code[40..48].copy_from_slice(&936_u64.to_le_bytes());
        code[58..62].copy_from_slice(&[64, 0, 1, 0]);
        let whole = [&code[..], &payload_bytes(&payload(&code)).unwrap()].concat();
        let carries = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            carried(&mut File::open(&path).unwrap()).map(|payload| payload.is_some())
        };
        assert_eq!((carries(&code), carries(&whole)), (Ok(false), Ok(true)));
        // What other tools put behind it is not ours.
        assert_eq!(carries(&[&code[..], b"a signature"].concat()), Ok(false));
        assert!(carries(&[&whole[..], b"\n"].concat()).unwrap_err().contains("something stands behind it"));
        for length in [500, 999] {
            assert!(carries(&code[..length]).unwrap_err().contains("cut short"), "{length}");
        }
        for length in [1000 + PAYLOAD_START.len(), whole.len() - 57, whole.len() - 1] {
            assert!(carries(&whole[..length]).unwrap_err().contains("the end of what it carries"), "{length}");
        }
    }
}
