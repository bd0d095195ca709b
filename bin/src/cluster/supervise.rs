//! # A group on this machine
//!
//! `tidemark cluster` starts the processes of a group, gives them free ports and a secret of their own, passes on what they say,
//! and ends with them. The first process has the standard streams; what others say stands behind their number.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidemark_dataflow::cluster::{PEER_TIMEOUT, digest, random_bytes};

use super::ClusterArgs;
use super::place::SECRET;
use super::voices::Voices;
use crate::exit::{self, Color, Exit};
use crate::run::fits_a_group;
use crate::session::Session;

/// The variable that names the supervisor's process to those it started.
const SUPERVISOR: &str = "TIDEMARK_SUPERVISOR";
/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the first failure waits for those that tell of it better.
const FIRST_WORDS: Duration = Duration::from_millis(500);

/// Times that the user has asked to stop.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Starts a group and waits for its end.
pub(crate) fn command(args: &ClusterArgs, color: Color) -> Exit {
    match prepare(args, color) {
        Ok(Some(group)) => group.watch(args, color),
        Ok(None) => Exit::Wrong,
        Err((exit, message)) => {
            exit::complain(&message, color);
            exit
        }
    }
}

/// Whoever started this process as part of a group has gone without ending it.
pub(crate) fn supervisor_gone() -> bool {
    static EXPECTED: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    let expected = EXPECTED.get_or_init(|| std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok()));
    expected.is_some_and(|pid| std::os::unix::process::parent_id() != pid)
}

struct Group {
    children: Vec<Child>,
    voices: Arc<Voices>,
    /// Threads that listen to the processes.
    listeners: Vec<std::thread::JoinHandle<()>>,
    /// Held until the end: the host file lies in it.
    _hosts: HostFile,
}

/// A host file that goes when the group does.
struct HostFile(std::path::PathBuf);

impl Drop for HostFile {
    fn drop(&mut self) {
        // What cannot be removed lies among other temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Checks the statements and starts the processes. `None`: the statements are wrong, which has been said.
fn prepare(args: &ClusterArgs, color: Color) -> Result<Option<Group>, (Exit, String)> {
    let wrong = |message: String| (Exit::Wrong, message);
    let from_stdin = args.statements.execute.is_empty() && args.statements.file.as_deref().is_none_or(|file| file == Path::new("-"));
    if from_stdin {
        return Err(wrong("all processes must read the statements; name a file, or pass them with -e \"SELECT ...\"".into()));
    }
    let session = Session::open(&args.statements, args.how.format, color).map_err(wrong)?;
    match session.plan() {
        Ok(program) => {
            fits_a_group(&args.how, &program).map_err(|message| wrong(message.into()))?;
            if !args.how.quiet {
                session.warn(&program.warnings);
            }
        }
        Err(errors) => {
            session.complain(&errors);
            return Ok(None);
        }
    }
    start(args, color).map(Some).map_err(|message| (Exit::Failed, message))
}

/// Starts the processes.
fn start(args: &ClusterArgs, color: Color) -> Result<Group, String> {
    let count = || {
        INTERRUPTS.fetch_add(1, Ordering::SeqCst);
    };
    if let Err(error) = ctrlc::set_handler(count) {
        tracing::warn!(%error, "^C will end this process and leave its group to find out");
    }
    let secret = digest(&random_bytes::<32>().map_err(|error| format!("no secret can be made: {error}"))?);
    let hosts = host_file(usize::from(args.processes)).map_err(|error| format!("no ports can be had: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let mut group = Group { children: Vec::new(), voices: Arc::default(), listeners: Vec::new(), _hosts: hosts };
    for process in 0..args.processes {
        let mut command = Command::new(&program);
        command.args(arguments(args, process, &group._hosts.0, color)).env(SECRET, &secret).env(SUPERVISOR, std::process::id().to_string());
        if process > 0 {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        // ^C on the terminal comes to this process alone, which passes it on.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| {
            group.children.iter_mut().for_each(|child| drop(child.kill()));
            format!("process {process} cannot be started: {error}")
        })?;
        if let Some(stderr) = child.stderr.take() {
            let voices = Arc::clone(&group.voices);
            group.listeners.push(std::thread::spawn(move || voices.listen(process, stderr)));
        }
        group.children.push(child);
    }
    Ok(group)
}

/// Addresses of this machine that nobody uses now.
fn host_file(processes: usize) -> std::io::Result<HostFile> {
    let listeners: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut text = String::new();
    for listener in &listeners {
        text.push_str(&format!("{}\n", listener.local_addr()?));
    }
    let name = digest(&random_bytes::<16>()?);
    let path = std::env::temp_dir().join(format!("tidemark-hosts-{}", &name[..16]));
    std::fs::write(&path, text)?;
    Ok(HostFile(path))
}

/// The arguments of one process.
fn arguments(args: &ClusterArgs, process: u16, hosts: &Path, color: Color) -> Vec<String> {
    let mut all = vec!["--color".to_owned(), if color.stderr { "always" } else { "never" }.to_owned(), "run".to_owned()];
    let mut put = |parts: &[&str]| all.extend(parts.iter().map(|part| (*part).to_owned()));
    if let Some(file) = &args.statements.file {
        put(&[&file.display().to_string()]);
    }
    args.statements.execute.iter().for_each(|sql| put(&["-e", sql]));
    args.statements.settings.iter().for_each(|(key, value)| put(&["--set", &format!("{key}={value}")]));
    args.statements.variables.iter().for_each(|(name, value)| put(&["-D", &format!("{name}={value}")]));
    put(&["-n", &args.processes.to_string(), "-p", &process.to_string(), "-H", &hosts.display().to_string()]);
    let us = |duration: Duration| format!("{}us", duration.as_micros());
    if let Some(wait) = args.patience.wait {
        put(&["--wait", &us(wait)]);
    }
    if let Some(timeout) = args.patience.peer_timeout {
        put(&["--peer-timeout", &us(timeout)]);
    }
    if let Some(workers) = args.how.workers {
        put(&["-w", &workers.to_string()]);
    }
    if let Some(format) = args.how.format {
        put(&["--format", format.name()]);
    }
    if let Some(limit) = args.how.limit_time {
        put(&["--limit-time", &us(limit)]);
    }
    if args.how.flush {
        put(&["--flush"]);
    }
    put(&["--stall-warning", &us(args.how.stall_warning)]);
    if args.how.quiet {
        put(&["--quiet"]);
    }
    put(&["--report", "share"]);
    all
}

impl Group {
    /// Waits for all processes, passing on what the user wants.
    fn watch(mut self, args: &ClusterArgs, color: Color) -> Exit {
        let patience = args.patience.peer_timeout.unwrap_or(PEER_TIMEOUT) * 2 + Duration::from_secs(3);
        let mut passed_on = 0;
        let mut failed: Option<Instant> = None;
        let mut impatient = false;
        let mut codes: Vec<Option<i32>> = vec![None; self.children.len()];
        // Processes that somebody else ended.
        let mut ended = BTreeMap::new();
        while codes.contains(&None) {
            std::thread::sleep(LOOK);
            for (process, (child, code)) in self.children.iter_mut().zip(&mut codes).enumerate() {
                if code.is_some() {
                    continue;
                }
                let number = u16::try_from(process).unwrap_or(u16::MAX);
                match child.try_wait() {
                    Ok(None) if failed.is_some() && self.voices.gave_up_on(number) => {
                        impatient = true;
                        // It may have gone this moment.
                        let _ = child.kill();
                    }
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        *code = Some(status.code().unwrap_or(1));
                        if status.code().is_none() && !impatient {
                            ended.insert(number, status.to_string());
                        }
                        if *code != Some(0) {
                            failed.get_or_insert_with(Instant::now);
                        }
                    }
                    Err(error) => {
                        exit::complain(&format!("process {process} cannot be watched: {error}"), color);
                        *code = Some(1);
                    }
                }
            }
            let interrupts = INTERRUPTS.load(Ordering::SeqCst);
            if interrupts > passed_on {
                if passed_on == 0 && !args.how.quiet && std::io::stderr().is_terminal() {
                    exit::tell("\nstopping: finishing what has been read; ^C again ends at once\n");
                }
                passed_on = interrupts;
                self.signal(&codes, "-INT");
            }
            if failed.is_some_and(|since| since.elapsed() > FIRST_WORDS) {
                self.voices.tell_failures(&ended, color);
            }
            if failed.is_some_and(|since| since.elapsed() > patience) {
                // They had the time to find out by themselves.
                impatient = true;
                self.signal(&codes, "-KILL");
                failed = Some(Instant::now());
            }
        }
        self.listeners.drain(..).for_each(|listener| drop(listener.join()));
        self.voices.tell_failures(&ended, color);
        self.voices.tell_summary(args.how.report, color);
        let worst = codes.iter().flatten().copied().find(|code| *code != 0).unwrap_or(0);
        match codes.first().copied().flatten().filter(|code| *code != 0).unwrap_or(worst) {
            0 if passed_on > 0 => Exit::Interrupted,
            0 => Exit::Done,
            2 => Exit::Wrong,
            130 => Exit::Interrupted,
            141 => Exit::PipeClosed,
            _ => Exit::Failed,
        }
    }

    /// Sends a signal to the processes that still run.
    fn signal(&self, codes: &[Option<i32>], signal: &str) {
        for (child, _) in self.children.iter().zip(codes).filter(|(_, code)| code.is_none()) {
            // A process that has just gone needs no signal.
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
        }
    }
}
