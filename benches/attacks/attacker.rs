//! The attacker's process: one thread, at low priority, for a given time.

use crate::attack::Attack;
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// How nice the attacker is to the other processes of this machine.
const NICE: i32 = 10;
/// Where it calls from: another client than the probes, with ports of its own.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How long it waits after a connection that it did not get.
const AGAIN: Duration = Duration::from_millis(2);

/// Connections, requests or messages so far, whatever an attack is made of.
static TRIED: AtomicU64 = AtomicU64::new(0);

/// The attacked node, and what anybody can find out about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub http: SocketAddr,
    pub peer: SocketAddr,
    pub cluster_id: String,
    pub node_id: u64,
}

/// Starts a process that attacks for so long and then prints how much it tried.
pub fn start(attack: &Attack, target: &Target, duration: Duration) -> Child {
    let target = serde_json::to_string(target).expect("it has a form");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--attack", attack.name, "--target", &target]);
    command.args(["--seconds", &duration.as_secs().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: prctl, setsid and setpriority may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            // Linux shares processors out among sessions first, and only then among the processes of one.
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
            Ok(())
        });
    }
    command.spawn().expect("the attacker starts")
}

/// Attacks in this process.
pub fn attack(attack: &Attack, target: Target, duration: Duration) {
    // The session's part of the processors; without effect where the system shares them out otherwise.
    let _ = std::fs::write("/proc/self/autogroup", NICE.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(duration, (attack.run)(target)).await });
    assert!(ended.is_err(), "an attack has no end of its own");
    println!("{}", TRIED.load(Relaxed));
}

/// One more was tried.
pub fn tried() {
    TRIED.fetch_add(1, Relaxed);
}

/// A connection that leaves no port behind when it is closed. It is tried until there is one.
pub async fn connect(to: SocketAddr) -> TcpStream {
    loop {
        match connect_once(to, None).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// `receive`: bytes of its receive buffer, where that is not the system's choice.
pub async fn connect_once(to: SocketAddr, receive: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((FROM, 0).into())?;
    let stream = socket.connect(to).await?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

/// Sends, and reads until the node closes the connection.
pub async fn ask(to: SocketAddr, bytes: &[u8]) {
    let mut stream = connect(to).await;
    if stream.write_all(bytes).await.is_ok() {
        discard(&stream).await;
    }
}

/// Reads until the node closes the connection.
pub async fn discard(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        let mut space = [0; 16 * 1_024];
        match stream.try_read(&mut space) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
}

/// So many of it at a time, each again and again.
pub async fn many<F: Future<Output = ()> + Send>(
    count: u64,
    once: impl Fn(u64) -> F + Clone + Send + 'static,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let once = once.clone();
        tasks.spawn(async move {
            loop {
                once(number).await;
                tokio::task::yield_now().await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
