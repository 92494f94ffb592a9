//! Processes that end with us, whichever way we end.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long one may take to end by itself once it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(10);
/// How much of a log is shown when something went wrong.
const LAST_LINES: usize = 8;

/// A program of this name in the search path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command without the settings that the environment may have for any of the systems.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let is_setting = |name: &str| {
        ["LOCKSTEP_", "ETCD_", "HQL_"].iter().any(|prefix| name.starts_with(prefix))
            || ["PORT", "PEER_NODES", "CACHE_CAPACITY"].contains(&name)
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    let parent = std::process::id();
    // Ctrl-C reaches us alone, and we end them in order; if we are killed, they go too.
    command.process_group(0);
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            if libc::getppid().cast_unsigned() != parent {
                return Err(std::io::Error::other("the parent is gone"));
            }
            Ok(())
        });
    }
    command
}

/// A server in the background. What it says goes to a file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// # Errors
    /// It does not start.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The memory that it uses, and used at most: megabytes of a million bytes that are resident.
    ///
    /// # Errors
    /// The system does not say.
    pub fn resident_mb(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
            Some(kib * 1_024.0 / 1e6)
        };
        megabytes("VmRSS:").zip(megabytes("VmHWM:")).with_context(|| format!("{}: no memory told", self.name))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails when the process has ended by itself.
    ///
    /// # Errors
    /// With its last words.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {}{}", self.name, way(status), last_words(&self.log())),
        }
    }

    /// Asks it to end, and returns once it has.
    pub async fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.runs() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills it at once, as a power failure would.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }

    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn signal(&self, signal: libc::c_int) {
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        // SAFETY: the process is our child and has not been waited for; it leads its own group.
        unsafe { libc::kill(-pid, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.runs() {
            return;
        }
        // Those that have children of their own end them first.
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.runs() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        if self.runs() {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The end of what a program said, on one line; nothing when it said nothing.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(LAST_LINES)..] {
        [] => String::new(),
        last => format!(": {}", last.join(" | ")),
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// It fails, or takes longer than `limit` and is killed.
pub async fn output(command: Command, limit: Duration) -> Result<String> {
    let shown = format!("{} {}", command.get_program().display(), shown_arguments(&command));
    let mut command = tokio::process::Command::from(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    let Ok(ended) = tokio::time::timeout(limit, running.wait_with_output()).await else {
        bail!("{shown} took longer than {limit:?}");
    };
    let ended = ended?;
    if !ended.status.success() {
        let told = last_words(&String::from_utf8_lossy(&ended.stderr));
        bail!("{shown}: {}{told}", way(ended.status));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn shown_arguments(command: &Command) -> String {
    let arguments: Vec<String> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    arguments.join(" ")
}

fn way(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_ends_with_its_handle() {
        let folder = tempfile::tempdir().expect("a folder");
        let sleep = find("sleep").expect("every system has it");
        let mut long = command(&sleep);
        long.arg("60");
        let process = Process::start("sleep", long, folder.path().join("log")).expect("it starts");
        let pid = i32::try_from(process.child.id()).expect("a number");
        drop(process);
        // SAFETY: asks only whether there is such a process.
        assert_eq!(unsafe { libc::kill(pid, 0) }, -1, "it is gone");
    }

    #[tokio::test]
    async fn what_a_program_says_is_told_when_it_fails() {
        let shell = find("sh").expect("every system has it");
        let mut bad = command(&shell);
        bad.args(["-c", "echo no >&2; exit 3"]);
        let error = output(bad, Duration::from_secs(10)).await.expect_err("it fails").to_string();
        assert!(error.ends_with("exit 3: no"), "{error}");
        let mut slow = command(&shell);
        slow.args(["-c", "sleep 60"]);
        assert!(output(slow, Duration::from_millis(50)).await.is_err());
    }
}
