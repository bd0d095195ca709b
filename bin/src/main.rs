//! # tidemark
//!
//! The command line. The only place with a terminal, a process exit and a wall clock; knows nothing of how an operator works.

mod args;
mod check;
mod cluster;
mod compile;
mod demo;
mod diagnose;
mod dlq;
mod exit;
mod explain;
mod figures;
mod held;
mod kafka;
mod logs;
mod observe;
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
    match compile::own_payload() {
        Ok(None) => {}
        Ok(Some(payload)) => return compile::run_program(&payload).into(),
        Err(message) => {
            exit::complain(&message, Color::default());
            return exit::Exit::Wrong.into();
        }
    }
    let cli = Cli::parse_from(args::with_default_command(std::env::args_os().collect()));
    let color = Color::of(cli.color);
    logs::start(color);
    let exit = match &cli.command {
        Command::Run(args) => run::command(args, color),
        Command::Explain(args) => explain::command(args, color),
        Command::Check(args) => check::command(args, color),
        Command::Demo(args) => demo::command(args, color),
        Command::Kafka(args) => kafka::command(args, color),
        Command::Cluster(args) => cluster::command(args, color),
        Command::Compile(args) => compile::command(args, color),
        Command::Dlq(args) => dlq::command(args, color),
    };
    exit.into()
}
