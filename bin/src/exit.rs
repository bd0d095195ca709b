//! How the process ends, and how it says why.

use std::process::ExitCode;

use crate::args::ColorChoice;

/// The ways a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The run failed.
    Failed,
    /// A statement or the command line is wrong; nothing was run.
    Wrong,
    /// Stopped by ^C, after draining.
    Interrupted,
    /// Whoever read standard output has gone: what a shell sees of a process that SIGPIPE ended.
    PipeClosed,
}

impl Exit {
    /// The process's code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Wrong => 2,
            Self::Interrupted => 130,
            Self::PipeClosed => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Which streams are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Color {
    /// Standard output.
    pub(crate) stdout: bool,
    /// Standard error.
    pub(crate) stderr: bool,
}

impl Color {
    /// As the command line says; by itself, each stream that is a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(crate) fn of(choice: ColorChoice) -> Self {
        use std::io::IsTerminal;
        match choice {
            ColorChoice::Always => Self { stdout: true, stderr: true },
            ColorChoice::Never => Self::default(),
            ColorChoice::Auto if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => Self::default(),
            ColorChoice::Auto => Self { stdout: std::io::stdout().is_terminal(), stderr: std::io::stderr().is_terminal() },
        }
    }
}

/// Writes text to standard output and says how that went.
pub(crate) fn print(text: &str, color: Color) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::PipeClosed,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"), color);
            Exit::Failed
        }
    }
}

/// Writes text to standard error. Where that is closed there is nobody to tell.
pub(crate) fn tell(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says what went wrong, on standard error.
pub(crate) fn complain(message: &str, color: Color) {
    tell(&if color.stderr { format!("\x1b[1;31merror:\x1b[0m {message}\n") } else { format!("error: {message}\n") });
}
