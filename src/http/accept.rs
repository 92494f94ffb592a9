//! The listener's own loop: axum's sets no timers, so a slow client would hold its connection for ever.

use super::client_address::ClientAddress;
use super::door::Door;
use super::guard::{Guard, Guarded};
use super::line_rate::LineRate;
use super::noted::Noted;
use super::places::{NoPlace, Places};
use super::routes::{probes, router};
use super::{compat, history};
use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

const BUFFER_BYTES: usize = 128 * 1024;
/// Connections that wait until they are accepted, as far as the system allows it. The library lets 128 wait; a client beyond
/// them tries again after a second.
const WAITING_MAX: i32 = 4_096;

/// How long a connection beyond those that there may be is young: see [`Beyond::make_room`]. A probe asks at once, and this is
/// a few round trips and the time for its answer.
const PROBE_KEPT: Duration = Duration::from_millis(250);

/// What is told of connections that are not taken in, at most so often a second.
static TOLD: LineRate = LineRate::new(1);

/// A running HTTP server.
pub struct HttpServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// End with the server.
    _tasks: JoinSet<()>,
}

impl HttpServer {
    /// Starts to answer.
    pub fn start(listener: TcpListener, door: Door) -> Self {
        if let Err(error) = SockRef::from(&listener).listen(WAITING_MAX) {
            tracing::debug!(%error, "cannot set how many connections may wait");
        }
        let (stop, stopped) = oneshot::channel();
        let (socket_io, pages) = compat::socket_io(&door);
        let mut tasks = JoinSet::new();
        tasks.spawn(history::keep_sampling(door.clone()));
        tasks.spawn(compat::keep_telling(pages, door.clone()));
        let service = router(door.clone(), socket_io);
        let task = tokio::spawn(accept(listener, door, service, stopped));
        Self { stop, task, _tasks: tasks }
    }

    /// Closes the listener, lets requests finish, and returns.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, door: Door, service: Router, mut stopped: oneshot::Receiver<()>) {
    let limits = door.limits.clone();
    let places = Places::new(limits.connections);
    let probes = probes(door.clone());
    let mut beyond = Beyond::default();
    let closing = watch::Sender::new(());
    let http = http1(limits.head);
    let mut http_beyond = http1(limits.probe_head);
    http_beyond.keep_alive(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it passes when connections end.
                if let Some(left_out) = TOLD.admit() {
                    tracing::warn!(%error, left_out, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Those who look after the node are to be answered however many clients there are.
        let place = places.take(address.ip());
        let is_beyond = place.is_err();
        if let Err(why) = &place {
            if let Some(left_out) = TOLD.admit() {
                let most = limits.connections;
                match why {
                    NoPlace::AllTaken => {
                        tracing::warn!(most, left_out, "all connections are taken: more are for probes only");
                    }
                    NoPlace::ShareTaken => {
                        let client = address.ip();
                        tracing::warn!(%client, most, left_out, "a client has half of all connections: more are for probes only");
                    }
                }
            }
            if !beyond.make_room(ClientAddress::new(address.ip()), limits.probe_connections) {
                continue;
            }
        }
        let _ = stream.set_nodelay(true);
        cut_off_when_stuck(&stream, limits.send_pause);
        let guard = Guard::new();
        let stream = TokioIo::new(Guarded::new(stream, guard.clone(), place.ok(), &limits));
        let (http, service) = if is_beyond { (&http_beyond, &probes) } else { (&http, &service) };
        let client = ClientAddress::new(address.ip());
        let service = TowerToHyperService::new(guarded(service.clone(), guard, client));
        let connection = http.serve_connection(stream, service).with_upgrades();
        let mut closes = closing.subscribe();
        let serving = tokio::spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                _ = closes.changed() => {
                    // What is being answered is finished, and nothing more is taken.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
        if is_beyond {
            beyond.add(client, serving.abort_handle());
        }
    }
    drop(listener);
    closing.send_replace(());
    if tokio::time::timeout(limits.shutdown, closing.closed()).await.is_err() {
        tracing::info!("some requests did not finish before the server stopped");
    }
}

/// How HTTP is spoken. A client has so much time for a request's head, and may idle as long.
fn http1(head: Duration) -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head).keep_alive(true);
    // What is kept of a request's head, and of answers that a slow client does not take.
    http.max_buf_size(BUFFER_BYTES);
    http
}

/// What goes through a connection is noted by its guard, and limited where it becomes a page's WebSocket.
fn guarded(
    service: Router,
    guard: Guard,
    client: ClientAddress,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone {
    let lifted = guard.clone();
    let prepare = move |mut request: Request<Incoming>| {
        client.note(&mut request);
        compat::limit_socket(&mut request, &guard);
        compat::take_slash_away(&mut request);
        request.map(|body| Noted::new(body, guard.clone()))
    };
    service.map_request(prepare).map_response(move |response: Response| {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            lifted.lift();
        }
        response
    })
}

/// Connections beyond those that there may be, oldest first.
#[derive(Default)]
struct Beyond(VecDeque<(ClientAddress, AbortHandle, Instant)>);

impl Beyond {
    /// Makes room for one more of this client: of the client that has most of them the oldest goes. It had its time, as a
    /// probe asks at once, and a client that connects again and again displaces itself. False when the new one has to go:
    /// while its client has half of them, or each client has one, a young one is kept. To close a connection costs little,
    /// to serve it first costs those that wait to be accepted behind it.
    fn make_room(&mut self, client: ClientAddress, most: usize) -> bool {
        self.0.retain(|(_, serving, _)| !serving.is_finished());
        while self.0.len() >= most.max(1) {
            let mut counts = HashMap::new();
            for (client, ..) in &self.0 {
                *counts.entry(*client).or_insert(0_usize) += 1;
            }
            let greatest = counts.values().max().copied().unwrap_or(0);
            // Of several such clients, the one with the oldest connection.
            let Some(place) = self.0.iter().position(|(client, ..)| counts[client] == greatest) else {
                break;
            };
            let has_half = counts.get(&client).is_some_and(|count| *count >= most.div_ceil(2));
            if (has_half || greatest == 1) && self.0[place].2.elapsed() < PROBE_KEPT {
                return false;
            }
            if let Some((_, serving, _)) = self.0.remove(place) {
                serving.abort();
            }
        }
        true
    }

    fn add(&mut self, client: ClientAddress, serving: AbortHandle) {
        self.0.push_back((client, serving, Instant::now()));
    }
}

/// Has the system end a connection whose client takes nothing, or is gone without a word.
fn cut_off_when_stuck(stream: &TcpStream, after: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(after)) {
        tracing::debug!(%error, "cannot set how long a client may take nothing");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::advance;

    fn client(number: u8) -> ClientAddress {
        ClientAddress::new([10, 0, 0, number].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_has_time_for_its_answer() {
        let mut beyond = Beyond::default();
        let mut tasks = JoinSet::new();
        for number in 0..3 {
            assert!(beyond.make_room(client(number), 3));
            beyond.add(client(number), tasks.spawn(pending::<()>()));
        }
        advance(PROBE_KEPT - Duration::from_millis(1)).await;
        assert!(!beyond.make_room(client(3), 3), "the new one goes");
        advance(Duration::from_millis(1)).await;
        assert!(beyond.make_room(client(3), 3), "the oldest one goes");
        beyond.add(client(3), tasks.spawn(async {}));
        assert!(tasks.join_next().await.expect("three").is_err_and(|error| error.is_cancelled()));
        tasks.join_next().await.expect("the one that was answered").expect("no panic");
        assert!(beyond.make_room(client(4), 3), "one has ended");
        assert_eq!(beyond.0.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_displaces_itself_and_makes_room_for_others() {
        let mut beyond = Beyond::default();
        let mut tasks = JoinSet::new();
        let mut come = |beyond: &mut Beyond, number| {
            let comes = beyond.make_room(client(number), 4);
            if comes {
                beyond.add(client(number), tasks.spawn(pending::<()>()));
            }
            comes
        };
        assert!([1, 2, 2, 2].into_iter().all(|number| come(&mut beyond, number)));
        assert!(!come(&mut beyond, 2), "it has more than half, and all are young");
        assert!(come(&mut beyond, 3), "another client finds room at once");
        advance(PROBE_KEPT).await;
        assert!(come(&mut beyond, 2), "its own oldest one goes");
        let clients: Vec<ClientAddress> = beyond.0.iter().map(|(client, ..)| *client).collect();
        assert_eq!(clients, [client(1), client(2), client(3), client(2)]);
    }
}
