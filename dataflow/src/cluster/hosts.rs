//! The host file: one address per line, in the order of the processes.

/// Addresses of a group on this machine, as timely chooses them.
pub fn default_addresses(processes: usize) -> Vec<String> {
    (0..processes).map(|process| format!("127.0.0.1:{}", 2101 + process)).collect()
}

/// The addresses of a host file: lines `host:port`; empty lines and what follows `#` are skipped. With a number of processes,
/// as many are taken from the top.
///
/// # Errors
/// When a line is no address, an address stands twice, or there are too few.
pub fn parse_hosts(text: &str, processes: Option<usize>) -> Result<Vec<String>, String> {
    let mut addresses: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fits = line.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !fits {
            return Err(format!("line {}: \"{line}\" is no address; write host:port", number + 1));
        }
        if addresses.iter().any(|address| address == line) {
            return Err(format!("line {}: {line} stands twice; every process needs an address of its own", number + 1));
        }
        addresses.push(line.to_owned());
    }
    match processes {
        Some(wanted) if addresses.len() < wanted => {
            Err(format!("{wanted} processes need {wanted} addresses, and there are {}", addresses.len()))
        }
        Some(wanted) => {
            addresses.truncate(wanted);
            Ok(addresses)
        }
        None if addresses.is_empty() => Err("there is no address in it; write one host:port per line".into()),
        None => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_addresses() {
        let text = "# the group\na:2101\n\n  b.example:2102 # second\n[::1]:2103\n";
        assert_eq!(parse_hosts(text, None).unwrap(), ["a:2101", "b.example:2102", "[::1]:2103"]);
        assert_eq!(parse_hosts(text, Some(2)).unwrap().len(), 2);
        assert_eq!(parse_hosts(text, Some(4)).unwrap_err(), "4 processes need 4 addresses, and there are 3");
        assert_eq!(parse_hosts("a:1\nb", None).unwrap_err(), "line 2: \"b\" is no address; write host:port");
        assert!(parse_hosts("a:0", None).is_err() && parse_hosts(":1", None).is_err() && parse_hosts("a:x", None).is_err());
        assert!(parse_hosts("a:1\na:1", None).unwrap_err().contains("twice"));
        assert!(parse_hosts(" \n", None).is_err());
        assert_eq!(default_addresses(2), ["127.0.0.1:2101", "127.0.0.1:2102"]);
    }
}
