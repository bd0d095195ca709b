//! `tidemark check`: plans the statements, runs nothing, and reports all that is wrong.

use crate::args::{CheckArgs, DocumentForm};
use crate::diagnose;
use crate::exit::{self, Color, Exit};
use crate::session::Session;

/// Checks the statements. Exits 2 when one is wrong; warnings alone are no reason.
pub(crate) fn command(args: &CheckArgs, color: Color) -> Exit {
    let session = match Session::open(&args.statements, None, color) {
        Ok(session) => session,
        Err(message) => {
            exit::complain(&message, color);
            return Exit::Wrong;
        }
    };
    let (errors, warnings) = match session.plan() {
        Ok(program) => (Vec::new(), program.warnings),
        Err(errors) => (errors, Vec::new()),
    };
    let printed = match args.format {
        DocumentForm::Text => {
            session.complain(&errors);
            session.warn(&warnings);
            Exit::Done
        }
        DocumentForm::Json => match diagnose::json(&session.text, &errors, &warnings) {
            Ok(json) => exit::print(&format!("{json}\n"), color),
            Err(error) => {
                exit::complain(&format!("cannot write the diagnostics: {error}"), color);
                Exit::Failed
            }
        },
    };
    match printed {
        Exit::Done if !errors.is_empty() => Exit::Wrong,
        other => other,
    }
}
