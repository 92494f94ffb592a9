//! The HTTP server of a node: the listener, the tasks beside it, and the service of each connection.

use super::accept::{Accepted, Port, accept};
use super::client_certificate;
use super::compat;
use super::routes::{probe_port, probes, router};
use super::state::AppState;
use super::tracked_body::TrackedBody;
use crate::front::keep_sampling;
use axum::Router;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Incoming;
use socket2::SockRef;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

/// Connections that wait to be accepted, as far as the system allows it. The library's default is 128; a client beyond
/// them tries again after a second.
const BACKLOG: i32 = 4_096;

/// How long the pages of a node that stops may take to be disconnected.
const PAGES_TIMEOUT: Duration = Duration::from_millis(500);

/// A running HTTP server.
pub struct HttpServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// Ends when the node is about to stop, and has disconnected the pages.
    pages: JoinSet<()>,
    /// They end with the server.
    _tasks: JoinSet<()>,
}

impl HttpServer {
    /// Starts to serve.
    pub fn start(listener: TcpListener, state: AppState) -> Self {
        if let Err(error) = SockRef::from(&listener).listen(BACKLOG) {
            tracing::debug!(%error, "cannot set how many connections can wait");
        }
        let (stop, stopped) = oneshot::channel();
        let (socket_io, pages) = compat::socket_io(&state);
        let (mut tasks, mut paging) = (JoinSet::new(), JoinSet::new());
        tasks.spawn(keep_sampling(state.front.clone()));
        paging.spawn(compat::broadcast(pages, state.clone()));
        let (all, probes) = (router(state.clone(), socket_io), probes(state.clone()));
        let of_requests = state.clone();
        let service_of = move |accepted: &Accepted| {
            let routes = if accepted.is_for_probes { &probes } else { &all };
            service(routes.clone(), accepted, of_requests.clone())
        };
        let port = Port { listener, tls: state.tls.clone(), is_for_probes: false };
        let task = tokio::spawn(accept(port, state, service_of, stopped));
        Self { stop, task, pages: paging, _tasks: tasks }
    }

    /// Starts to serve, and answers probes on a port of their own, which is never encrypted and asks for no token. With `metrics`
    /// it also has `/metrics`.
    pub fn with_probes(self, listener: TcpListener, state: AppState, metrics: bool) -> Self {
        let Self { stop, task, pages, mut _tasks } = self;
        let routes = probe_port(state.clone(), metrics);
        let of_requests = state.clone();
        let service_of = move |accepted: &Accepted| service(routes.clone(), accepted, of_requests.clone());
        let port = Port { listener, tls: None, is_for_probes: true };
        // It ends with the server, not before: a probe wants to know of a node that stops, too.
        _tasks.spawn(async move {
            let (_never, stopped) = oneshot::channel();
            accept(port, state, service_of, stopped).await;
        });
        Self { stop, task, pages, _tasks }
    }

    /// Closes the listener and ends what holds the node, which is about to stop. Whoever has asked is answered in the background,
    /// for a while.
    pub async fn retire(self) {
        let Self { stop, task, mut pages, _tasks } = self;
        let _ = stop.send(());
        // Pages are disconnected, so that they look again. Without pages it waits for one, and is ended.
        let _ = timeout(PAGES_TIMEOUT, pages.join_next()).await;
        drop(task);
    }

    /// Closes the listener, lets requests finish, and returns.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// The service of a connection: its guard learns of each request's body, and of an upgrade to a WebSocket. It
/// knows whether the request is the last.
fn service(
    routes: Router,
    accepted: &Accepted,
    state: AppState,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
    let (address, certificate) = (accepted.address, accepted.certificate.clone());
    let (guard, lifted) = (accepted.guard.clone(), accepted.guard.clone());
    let prepare = move |mut request: Request<Incoming>| {
        address.attach(&mut request, &state);
        client_certificate::attach(certificate.as_ref(), &mut request);
        compat::prepare(&mut request, &guard);
        request.map(|body| TrackedBody::new(body, guard.clone()))
    };
    routes.map_request(prepare).map_response(move |mut response: Response| {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            lifted.lift();
            if lifted.is_last() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        response
    })
}
