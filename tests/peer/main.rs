//! Tests of the transport between nodes, over real sockets and with real bytes.
//!
//! `frames.rs` feeds the decoders with anything; `handshake.rs` does it to a listening server; `calls.rs`,
//! `appends.rs` and `links.rs` tell how requests go when peers are slow, silent, lost or cut off; `tls.rs` who may connect.

mod appends;
mod calls;
#[path = "../support/certs.rs"]
mod certs;
mod frames;
mod handshake;
mod links;
mod raw;
mod tls;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use lockstep::lineage::{HistoryKind, Lineage};
use lockstep::peer::{
    Handler, Lane, Links, Listener, Method, Net, NodeId, PeerClient, PeerIdentity, PeerServer, Protocols,
    Refusal, Remote, RoundTrips,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Long enough for anything that is going to happen on a busy machine.
const PLENTY: Duration = Duration::from_secs(20);
/// Short enough to wait for what is not going to happen.
const BRIEF: Duration = Duration::from_millis(150);

const SERVER: NodeId = 1;
const CALLER: NodeId = 2;

fn identity(node_id: NodeId) -> PeerIdentity {
    PeerIdentity { lineage: lineage(&["second", "third"]).into(), node_id, protocols: Protocols::THIS }
}

/// A lineage of the blue cluster, with these histories after the first.
fn lineage(later: &[&str]) -> Lineage {
    later.iter().fold(Lineage::founded("blue", 0), |before, id| {
        let start = before.current().start_index;
        before.fork((*id).into(), HistoryKind::Restored, start, start, 0, "").expect("there is room")
    })
}

/// A request that waits for the test to answer it.
struct Call {
    from: NodeId,
    method: Method,
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
}

/// Hands every request to the test, and panics once it has answered one that asks for that. Appends are answered with their
/// own bodies, except that `fail` ends the answers; nothing is answered until `appends_at_once` of them are there.
struct ToTest {
    calls: mpsc::UnboundedSender<Call>,
    appends_at_once: usize,
    other_clusters: Arc<AtomicUsize>,
}

impl Handler for ToTest {
    fn name_of(&self, id: NodeId) -> Option<String> {
        (id == CALLER).then(|| "caller".to_owned())
    }

    fn refused_other_cluster(&self) {
        self.other_clusters.fetch_add(1, Ordering::Relaxed);
    }

    fn call(&self, from: NodeId, method: Method, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let (answer, answered) = oneshot::channel();
        // A test that has seen enough drops its end.
        let _ = self.calls.send(Call { from, method, body: body.clone(), answer });
        Box::pin(async move {
            let answer = answered.await.unwrap_or_else(|_| Err("nobody answers here".into()));
            assert_ne!(body.as_ref(), b"panic", "as the test has asked");
            answer
        })
    }

    fn appends(&self, _: NodeId, mut requests: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes> {
        let at_once = self.appends_at_once;
        let gathered = stream::once(async move {
            let mut gathered = Vec::new();
            while gathered.len() < at_once {
                match requests.recv().await {
                    Some(body) => gathered.push(body),
                    None => break,
                }
            }
            let later = stream::poll_fn(move |context| requests.poll_recv(context));
            stream::iter(gathered).chain(later)
        });
        let bodies = gathered.flatten().take_while(|body| futures::future::ready(body.as_ref() != b"fail"));
        Box::pin(bodies)
    }
}

/// A peer server on a loopback port, whose requests the test answers.
struct Served {
    address: String,
    links: Links,
    calls: mpsc::UnboundedReceiver<Call>,
    /// How many calls of another cluster the handler heard of.
    other_clusters: Arc<AtomicUsize>,
    /// Serves until it is dropped.
    server: PeerServer,
}

async fn serve() -> Served {
    serve_appends(1).await
}

async fn serve_appends(appends_at_once: usize) -> Served {
    serve_on(appends_at_once, Listener::from).await
}

async fn serve_on(appends_at_once: usize, listen: impl FnOnce(TcpListener) -> Listener) -> Served {
    let (sender, calls) = mpsc::unbounded_channel();
    let other_clusters = Arc::new(AtomicUsize::new(0));
    let handler = Arc::new(ToTest { calls: sender, appends_at_once, other_clusters: other_clusters.clone() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    let links = Links::default();
    let server = PeerServer::start(listen(listener), identity(SERVER), links.clone(), handler);
    Served { address, links, calls, other_clusters, server }
}

impl Served {
    fn refused_other_clusters(&self) -> usize {
        self.other_clusters.load(Ordering::Relaxed)
    }

    async fn next_call(&mut self) -> Call {
        tokio::time::timeout(PLENTY, self.calls.recv()).await.expect("a call arrives").expect("still served")
    }

    /// Asserts that a caller of the same cluster is served.
    async fn serves_well(&mut self) {
        let client = client(&self.address, Lane::Control);
        let asking =
            tokio::spawn(async move { client.call(Method::Clock, Bytes::from("time?"), PLENTY).await });
        let call = self.next_call().await;
        assert_eq!((call.from, call.method, call.body.as_ref()), (CALLER, Method::Clock, b"time?".as_ref()));
        call.answer.send(Ok(Bytes::from("now"))).expect("the server waits");
        assert_eq!(asking.await.expect("no panic"), Ok(Bytes::from("now")));
    }
}

fn client(address: &str, lane: Lane) -> PeerClient {
    client_behind(address, lane, Links::default())
}

fn client_behind(address: &str, lane: Lane, links: Links) -> PeerClient {
    PeerClient::new(
        identity(CALLER),
        Remote { id: SERVER, name: String::new(), address: address.to_owned() },
        lane,
        Net::Tcp,
        links,
        RoundTrips::default(),
    )
}
