//! # Being a program
//!
//! What a compiled program does instead of the command line: it runs its statements. How it runs can be chosen; what it computes
//! was fixed when it was compiled, but for the values of `${NAME}`.

use clap::{CommandFactory, FromArgMatches, Parser};
use tidemark_planner::explain;

use super::{Payload, no_such_variable};
use crate::args::{ColorChoice, HowArgs, StdoutFormat, key_value};
use crate::cluster::PlaceArgs;
use crate::diagnose::Text;
use crate::exit::{self, Color, Exit};
use crate::run;
use crate::session::Session;

/// A pipeline of streaming SQL, compiled.
#[derive(Parser, Debug)]
#[command(version, about, max_term_width = 100)]
struct ProgramArgs {
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// A setting, as if SET stood before the statements; or a value for ${NAME}, as with -D
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    /// A value for ${NAME} in options; wins over the environment, which wins over the value compiled in
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = key_value)]
    variables: Vec<(String, String)>,
    /// Show what would run
    #[arg(long, conflicts_with = "sql")]
    explain: bool,
    /// Print the statements
    #[arg(long)]
    sql: bool,
    /// Colours in messages [NO_COLOR is honoured under auto]
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
}

/// Does what the program was compiled for.
pub(crate) fn command(payload: &Payload) -> Exit {
    let build = payload.code_hash.get(..16).unwrap_or(&payload.code_hash);
    let version = format!("(tidemark {}, build {build}, plan {:016x})", payload.version, payload.fingerprint);
    // The grammar wants words that live as long as the process, which has one program.
    let grammar = ProgramArgs::command().name(&*payload.name.clone().leak()).version(&*version.leak());
    let args = ProgramArgs::from_arg_matches(&grammar.get_matches()).unwrap_or_else(|error| error.exit());
    let color = Color::of(args.color);
    crate::logs::start(color);
    if args.sql {
        return exit::print(&format!("{}\n", payload.sql.trim_end()), color);
    }
    match prepare(payload, &args, color) {
        Ok((session, how)) if args.explain => show(&session, color, &how),
        Ok((session, how)) => run::session_run(&session, &how, &args.place),
        Err(message) => {
            exit::complain(&message, color);
            Exit::Wrong
        }
    }
}

fn prepare(payload: &Payload, args: &ProgramArgs, color: Color) -> Result<(Session, HowArgs), String> {
    // `--set` of a variable can mean nothing else.
    let (given, settings): (Vec<_>, Vec<_>) = args.settings.iter().cloned().partition(|(name, _)| payload.names.contains(name));
    let variables: Vec<_> = args.variables.iter().cloned().chain(given).collect();
    if let Some((name, _)) = variables.iter().find(|(name, _)| !payload.names.contains(name)) {
        return Err(no_such_variable(name, &payload.names));
    }
    let mut how = args.how.clone();
    how.workers = how.workers.or(payload.workers);
    let compiled_format = payload.format.as_deref().and_then(StdoutFormat::of_name);
    how.format = how.format.or(compiled_format);
    let mut session = Session::of(Text::inline(payload.sql.clone()).named(&payload.name), how.format, color);
    session.give(payload.settings.iter().chain(&settings).cloned(), payload.variables.clone(), variables.into_iter());
    let as_compiled = settings.is_empty()
        && how.format == compiled_format
        && payload.names.iter().all(|name| session.variable(name).as_ref() == payload.variables.get(name));
    if as_compiled
        && let Ok(program) = session.plan()
        && program.fingerprint != payload.fingerprint
    {
        return Err(format!(
            "the plan is {:016x} here and was {:016x} where the program was compiled: what a source holds has changed; compile again, or declare the columns in CREATE SOURCE",
            program.fingerprint, payload.fingerprint
        ));
    }
    Ok((session, how))
}

fn show(session: &Session, color: Color, how: &HowArgs) -> Exit {
    match session.plan() {
        Ok(program) => {
            if !how.quiet {
                session.warn(&program.warnings);
            }
            exit::print(&program.plan.map(|plan| explain::to_text(&explain::explain(&plan))).unwrap_or_default(), color)
        }
        Err(errors) => {
            session.complain(&errors);
            Exit::Wrong
        }
    }
}
