//! What the program says of its inner life, on standard error, when asked by `TIDEMARK_LOG` or `RUST_LOG`.

use tracing_subscriber::EnvFilter;

use crate::exit::{self, Color};

/// Starts logging. Without the variables, only warnings and errors are shown.
pub(crate) fn start(color: Color) {
    let wanted =
        ["TIDEMARK_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?)));
    let filter = match &wanted {
        None => EnvFilter::new("warn"),
        Some((name, value)) => EnvFilter::try_new(value).unwrap_or_else(|error| {
            exit::complain(&format!("{name} is ignored: {error}"), color);
            EnvFilter::new("warn")
        }),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color.stderr).init();
}
