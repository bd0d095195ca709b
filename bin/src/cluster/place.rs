//! From options to a place in a group.

use std::path::Path;

use tidemark_dataflow::cluster::{ClusterConfig, PEER_TIMEOUT, Secret, WAIT, default_addresses, parse_hosts};

use super::PlaceArgs;

/// The variable that holds the secret.
pub(crate) const SECRET: &str = "TIDEMARK_CLUSTER_SECRET";

/// The place that the options give this process; `None` if it runs alone.
///
/// # Errors
/// One sentence when the options contradict each other or a file cannot be used.
pub(crate) fn place(args: &PlaceArgs) -> Result<Option<ClusterConfig>, String> {
    let wanted = args.processes.map(usize::from);
    let addresses = match &args.hostfile {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            parse_hosts(&text, wanted).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => default_addresses(wanted.unwrap_or(1)),
    };
    let count = addresses.len();
    let process = match args.process.map(usize::from) {
        Some(process) if process >= count => {
            return Err(format!("there is no process {process} among {count}; processes count from 0, and -n says how many there are"));
        }
        Some(process) => process,
        None if count == 1 => 0,
        None => return Err(format!("which of the {count} processes is this? Add -p with a number from 0 to {}", count - 1)),
    };
    if count == 1 {
        return Ok(None);
    }
    let config = ClusterConfig {
        process,
        addresses,
        secret: secret(args.cluster_secret_file.as_deref())?,
        wait: args.patience.wait.unwrap_or(WAIT),
        peer_timeout: args.patience.peer_timeout.unwrap_or(PEER_TIMEOUT),
        build: build()?,
    };
    config.check_secret()?;
    Ok(Some(config))
}

/// What is unwise about a place, though it can be taken: a secret that others may know.
pub(crate) fn doubts(args: &PlaceArgs) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let path = args.cluster_secret_file.as_ref()?;
    // Groups are often meant to read it, as those of containers are.
    let open = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0);
    open.then(|| format!("every user of this machine can get at the cluster's secret in {0}; chmod o= {0}", path.display()))
}

fn secret(file: Option<&Path>) -> Result<Option<Secret>, String> {
    let (name, text) = match file {
        Some(path) => {
            (path.display().to_string(), std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?)
        }
        None => match std::env::var_os(SECRET) {
            Some(text) => (SECRET.to_owned(), text.into_encoded_bytes()),
            None => return Ok(None),
        },
    };
    Secret::new(&text).map(Some).map_err(|error| format!("{name}: {error}"))
}

/// What this program was built from: its version and the hash of its code, without a program that was put behind it.
fn build() -> Result<String, String> {
    let hash = crate::compile::own_code_hash()?;
    Ok(format!("{} ({})", env!("CARGO_PKG_VERSION"), &hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(processes: Option<u16>, process: Option<u16>) -> PlaceArgs {
        PlaceArgs { processes, process, ..PlaceArgs::default() }
    }

    #[test]
    fn a_place_must_be_clear() {
        assert!(place(&args(None, None)).unwrap().is_none());
        assert!(place(&args(Some(1), Some(0))).unwrap().is_none());
        let found = place(&args(Some(3), Some(2))).unwrap().unwrap();
        assert_eq!((found.process, found.addresses.len()), (2, 3));
        assert!(place(&args(Some(3), None)).unwrap_err().contains("Add -p with a number from 0 to 2"));
        assert!(place(&args(Some(3), Some(3))).unwrap_err().contains("there is no process 3 among 3"));
        assert!(place(&args(None, Some(1))).unwrap_err().contains("there is no process 1"));
    }

    #[test]
    fn a_secret_that_all_can_read_is_doubted() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "a secret of the group").unwrap();
        let args = PlaceArgs { cluster_secret_file: Some(path.clone()), ..args(Some(2), Some(0)) };
        for (mode, doubted) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(doubts(&args).is_some(), doubted, "{mode:o}");
        }
    }
}
