//! # tidemark
//!
//! The command line. The only place with a terminal, a process exit and a wall clock; knows nothing of how an operator works.

mod args;
mod check;
mod demo;
mod diagnose;
mod exit;
mod explain;
mod figures;
mod logs;
mod outputs;
mod progress;
mod run;
mod session;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::Color;

/// Many small and short-lived buffers on several threads: jemalloc keeps both time and resident memory lower than glibc's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::with_default_command(std::env::args_os().collect()));
    let color = Color::of(cli.color);
    logs::start(color);
    let exit = match &cli.command {
        Command::Run(args) => run::command(args, color),
        Command::Explain(args) => explain::command(args, color),
        Command::Check(args) => check::command(args, color),
        Command::Demo(args) => demo::command(args, color),
    };
    exit.into()
}
