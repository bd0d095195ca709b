//! # Clusters on the command line
//!
//! The options that give a process its place in a group, and the command that starts a whole group on this machine.

pub(crate) mod place;
mod supervise;
mod voices;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::args::{HowArgs, StatementArgs};

pub(crate) use supervise::command;
pub(crate) use supervise::supervisor_gone;
pub(crate) use voices::share;

/// The place of a process in its group: timely's letters.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct PlaceArgs {
    /// How many processes run this together [default: the addresses of the host file, else 1]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) processes: Option<u16>,
    /// Which of them this is, from 0
    #[arg(short = 'p', long, value_name = "P")]
    pub(crate) process: Option<u16>,
    /// File with the address of each process, host:port, one per line [default: 127.0.0.1, ports from 2101]
    #[arg(short = 'H', long, value_name = "FILE")]
    pub(crate) hostfile: Option<PathBuf>,
    /// File with the secret that all processes share [default: the variable TIDEMARK_CLUSTER_SECRET]
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

/// How long processes wait for each other.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct PatienceArgs {
    /// How long to wait for the other processes to start [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    pub(crate) wait: Option<Duration>,
    /// Silence after which another process counts as lost [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    pub(crate) peer_timeout: Option<Duration>,
}

/// Arguments of `cluster`.
#[derive(Args, Debug, Clone)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) statements: StatementArgs,
    /// How many processes to start
    #[arg(short = 'n', long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) processes: u16,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}
