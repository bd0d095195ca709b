//! # tidemark
//!
//! The command line. The only place with a terminal, a process exit and a wall clock; knows nothing of how an operator works.

mod args;
mod diagnose;
mod exit;
mod figures;
mod progress;
mod summary;

use std::process::ExitCode;

/// Many small and short-lived buffers on several threads: jemalloc keeps both time and resident memory lower than glibc's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let _ = diagnose::draw;
    ExitCode::SUCCESS
}
