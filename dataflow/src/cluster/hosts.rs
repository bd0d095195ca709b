//! The host file: one address per line, in the order of the processes.

use std::net::Ipv6Addr;

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
        if let Err(advice) = check(line) {
            return Err(format!("line {}: \"{line}\" is no address; {advice}", number + 1));
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

/// Whether a text is an address: what to write in its place if it is not.
fn check(text: &str) -> Result<(), String> {
    let port = |port: &str| match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    };
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once("]:") {
            Some((host, after)) if host.split('%').next().is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()) => port(after),
            _ => Err("write [IPv6 address]:port".into()),
        };
    }
    let v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    match text.rsplit_once(':') {
        Some((host, _)) if v6(host) || v6(text) => Err("write an IPv6 address in brackets: [::1]:2101".into()),
        Some((host, after)) if !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)) => port(after),
        Some(_) => Err("write host:port, without anything before or after".into()),
        None => Err("write host:port".into()),
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
        for (line, advice) in [
            ("a:0", "a port is a number from 1 to 65535"),
            ("a:99999", "a port is a number from 1 to 65535"),
            ("a:x", "a port is a number from 1 to 65535"),
            ("[::1]:", "a port is a number from 1 to 65535"),
            (":1", "write host:port, without anything before or after"),
            ("a b:1", "write host:port, without anything before or after"),
            ("http://a", "a port is a number from 1 to 65535"),
            ("http://a:1", "write host:port, without anything before or after"),
            ("::1:2102", "write an IPv6 address in brackets: [::1]:2101"),
            ("[::1", "write [IPv6 address]:port"),
            ("[a]:1", "write [IPv6 address]:port"),
        ] {
            assert_eq!(parse_hosts(line, None).unwrap_err(), format!("line 1: \"{line}\" is no address; {advice}"));
        }
        assert_eq!(parse_hosts("a.b-c_d:1\r\n[fe80::1%eth0]:2\r\n", None).unwrap().len(), 2);
        assert!(parse_hosts("a:1\na:1", None).unwrap_err().contains("twice"));
        assert!(parse_hosts(" \n", None).is_err());
        assert_eq!(default_addresses(2), ["127.0.0.1:2101", "127.0.0.1:2102"]);
    }
}
