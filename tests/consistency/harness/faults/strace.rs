//! System calls that fail, or that are the last a process does, by strace's injection.

use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// strace attached to a process; it lets go when dropped.
pub struct Tracer(Child);

impl Tracer {
    /// From now on, `inject` happens to system calls of this process, as strace's `-e inject=` has it.
    pub async fn attach(pid: i32, inject: &str) -> Result<Self, String> {
        let calls = inject.split(':').next().unwrap_or_default();
        let mut child = tokio::process::Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-p", &pid.to_string()])
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        // It says so once it has the process; then somebody has to go on reading.
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let line = tokio::time::timeout(Duration::from_secs(5), said.next_line()).await;
        let attached = matches!(&line, Ok(Ok(Some(line))) if line.contains("attached"));
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let tracer = Self(child);
        if attached { Ok(tracer) } else { Err(format!("strace did not attach: {line:?}")) }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Interrupted, it detaches; killed, it would leave the process stopped.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: the process is our child and has not been waited for.
            unsafe { libc::kill(pid, libc::SIGINT) };
        }
    }
}

/// Whether strace is installed and may look into processes that are not its own children.
pub fn works() -> bool {
    let Ok(mut sleeper) = Command::new("sleep").arg("30").spawn() else { return false };
    let mut attach = Command::new("strace");
    attach.args(["-o", "/dev/null", "-e", "trace=kill", "-p", &sleeper.id().to_string()]);
    let traced = attach.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let works = traced.is_ok_and(|mut tracer| {
        let mut first = String::new();
        let said = tracer.stderr.take().expect("it is piped");
        let _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut first);
        let _ = tracer.kill();
        let _ = tracer.wait();
        first.contains("attached")
    });
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    works
}
