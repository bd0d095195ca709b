//! What the benchmarks share: arguments, memory and processor time of this process, a table.
#![allow(dead_code)]

/// The value after `--name`, if it was given.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if let Some(value) = argument.strip_prefix(&format!("--{name}=")) {
            return Some(value.to_owned());
        }
        if argument == format!("--{name}") {
            return arguments.next();
        }
    }
    None
}

/// A number after `--name`.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    argument(name).map_or(default, |text| text.replace('_', "").parse().unwrap_or_else(|_| panic!("--{name} {text} is not a number")))
}

/// A list after `--name`, separated by commas.
pub(crate) fn list(name: &str, default: &str) -> Vec<String> {
    argument(name)
        .unwrap_or_else(|| default.to_owned())
        .split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Most memory this process has held, in bytes.
pub(crate) fn peak_memory() -> u64 {
    status("VmHWM:")
}

/// Memory this process holds, in bytes.
pub(crate) fn memory() -> u64 {
    status("VmRSS:")
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor time of all threads of this process that are alive, in seconds.
pub(crate) fn processor_time() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e9
}

/// Processor time of all threads that this process has had, in seconds, to a hundredth.
pub(crate) fn all_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold blanks. User mode, then kernel mode.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Prints rows under a head, columns aligned.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(i, cell)| if i < 2 { format!("{cell:<w$}", w = widths[i]) } else { format!("{cell:>w$}", w = widths[i]) })
            .collect();
        println!("{}", cells.join("  "));
    };
    line(head.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

/// The value below which a share of sorted values lies.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    if sorted.is_empty() { 0 } else { sorted[((sorted.len() - 1) as f64 * share).round() as usize] }
}
