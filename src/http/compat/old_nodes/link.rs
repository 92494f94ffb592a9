//! A Socket.IO connection over which an old node may come. It is a page like any other until it registers or sends an operation.

use super::super::super::client_address::client_of;
use super::super::super::connection_guard::ConnectionGuard;
use super::super::super::flow_window::FlowWindow;
use super::super::super::state::AppState;
use super::super::page_access::principal_of;
use super::incoming::{Incoming, NodeInfo, Packet};
use super::outlet::Outlet;
use super::registry::OldNode;
use super::teller::{Teller, Told, refusal};
use super::writer::{Answer, Received, Writer};
use crate::api::ErrorCode;
use crate::front::truncate;
use serde::Serialize;
use socketioxide::extract::{AckSender, SocketRef};
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// The room of the old nodes. They are told all operations, so they need none of what pages get.
pub(in super::super) const OLD_NODES_ROOM: &str = "old-nodes";
/// Bytes that an old node has sent and that are not in the log yet, about. Then no more is read.
const QUEUED_MAX: u64 = 2 * 1024 * 1024;
/// What a message counts besides its text.
const MESSAGE_BYTES: u64 = 512;
/// The longest message: a little more than a body of `/api`.
const MESSAGE_BYTES_MAX: u64 = 11 * 1024 * 1024;
const LOGGED_BYTES: usize = 128;

/// See the module. Clones share it.
#[derive(Clone)]
pub(in super::super) struct Link(Arc<Shared>);

struct Shared {
    state: AppState,
    attached: Mutex<Attachment>,
}

/// The acknowledgement of `register-node`.
#[derive(Serialize)]
struct Registered {
    success: bool,
}

enum Attachment {
    Not,
    Is(Attached),
    Ended,
}

struct Attached {
    node: Arc<OldNode>,
    outlet: Arc<Outlet>,
    told: Arc<Told>,
    flow: Arc<FlowWindow>,
    queue: UnboundedSender<Received>,
    is_told: bool,
}

impl Link {
    /// Listens on this page.
    pub fn listen(page: &SocketRef, state: &AppState) {
        let (state, attached) = (state.clone(), Mutex::new(Attachment::Not));
        let link = Self(Arc::new(Shared { state, attached }));
        // Handlers of the library run at the same time. What is done before the future is made is done in order.
        let registers = link.clone();
        page.on("register-node", move |page: SocketRef, packet: Packet, ack: AckSender| {
            registers.register(&page, &packet, ack)
        });
        let operates = link.clone();
        page.on("cache-operation", move |page: SocketRef, packet: Packet, ack: AckSender| {
            operates.receive(&page, packet, ack, false)
        });
        let syncs = link.clone();
        page.on("cache-sync", move |page: SocketRef, packet: Packet, ack: AckSender| {
            syncs.receive(&page, packet, ack, true)
        });
        page.on_disconnect(move || {
            link.end();
            ready(())
        });
    }

    fn register(&self, page: &SocketRef, packet: &Packet, ack: AckSender) -> Ready<()> {
        let info = match NodeInfo::parse(packet) {
            Ok(info) => info,
            Err(error) => {
                let problem = error.problem();
                let _ = page.emit("cache-error", &Answer::refusal(problem.code, problem.detail.clone()));
                return ready(());
            }
        };
        let mut attachment = self.0.attached.lock().expect("no panic while held");
        if let Some(attached) = self.attach(&mut attachment, page, &info.node_id) {
            attached.node.note_port(info.port);
            // Whoever does not ask for it is not told.
            let _ = ack.send(&Registered { success: true });
            if std::mem::replace(&mut attached.is_told, true) {
                attached.node.resync.notify_one();
                return ready(());
            }
            let teller = Teller {
                node: attached.node.clone(),
                outlet: attached.outlet.clone(),
                told: attached.told.clone(),
                state: self.0.state.clone(),
                principal: principal_of(page),
            };
            tokio::spawn(teller.run());
        }
        ready(())
    }

    fn receive(&self, page: &SocketRef, packet: Packet, ack: AckSender, is_full_sync: bool) -> Ready<()> {
        let mut attachment = self.0.attached.lock().expect("no panic while held");
        let id = match &*attachment {
            Attachment::Not => Incoming::node_id(&packet).unwrap_or_default(),
            Attachment::Is(_) | Attachment::Ended => String::new(),
        };
        if let Some(attached) = self.attach(&mut attachment, page, &id) {
            let bytes = packet.0.len() as u64 + MESSAGE_BYTES;
            attached.flow.enqueue(bytes);
            attached.node.note_received();
            // The writer ends after the sender.
            let _ = attached.queue.send(Received { packet, bytes, is_full_sync, ack, at: Instant::now() });
        }
        ready(())
    }

    /// The node of this connection, which is attached now if it is not yet; `None` if it cannot be, and was told why.
    fn attach<'a>(
        &self,
        attachment: &'a mut Attachment,
        page: &SocketRef,
        id: &str,
    ) -> Option<&'a mut Attached> {
        if matches!(attachment, Attachment::Not) {
            match self.attached(page, id) {
                Ok(attached) => *attachment = Attachment::Is(attached),
                Err(answer) => {
                    let message = answer.message.as_deref().unwrap_or_default();
                    tracing::warn!(node = %truncate(id, LOGGED_BYTES), "an old node cannot be attached: {message}");
                    let _ = page.emit("cache-error", &answer);
                    // The library calls `end` at once, which needs the lock that is held here.
                    let page = page.clone();
                    tokio::spawn(async move { page.disconnect() });
                    *attachment = Attachment::Ended;
                }
            }
        }
        match attachment {
            Attachment::Is(attached) => Some(attached),
            Attachment::Not | Attachment::Ended => None,
        }
    }

    fn attached(&self, page: &SocketRef, id: &str) -> Result<Attached, Box<Answer>> {
        let parts = page.req_parts();
        let guard = parts.extensions.get::<ConnectionGuard>().ok_or_else(|| {
            let message = "A node attaches by WebSocket: give its client transports: ['websocket']";
            Box::new(Answer::refusal(ErrorCode::InvalidBody, message))
        })?;
        if id.is_empty() {
            return Err(Box::new(Answer::refusal(ErrorCode::InvalidBody, "nodeId is required")));
        }
        let (state, address) = (&self.0.state, client_of(parts).to_string());
        let node = state.old_nodes.attach(id, address, page.id.to_string());
        let node = node.ok_or_else(|| Box::new(refusal("too many old nodes are attached to this node")))?;
        let flow = Arc::new(FlowWindow::new(QUEUED_MAX, MESSAGE_BYTES_MAX));
        guard.let_flow(flow.clone());
        page.join(OLD_NODES_ROOM);
        let outlet = Arc::new(Outlet::new(page.clone(), flow.clone(), node.clone()));
        let told = Arc::new(Told::default());
        let (queue, received) = unbounded_channel();
        let writer = Writer {
            node: node.clone(),
            outlet: outlet.clone(),
            told: told.clone(),
            state: state.clone(),
            principal: principal_of(page),
            fails: false.into(),
        };
        let (released, written) = (flow.clone(), node.clone());
        let release = move |bytes| {
            released.release(bytes);
            written.note_written();
        };
        tokio::spawn(writer.run(received, release));
        tracing::info!(node = %truncate(id, LOGGED_BYTES), address = node.address, "an old node is attached");
        Ok(Attached { node, outlet, told, flow, queue, is_told: false })
    }

    /// The connection has ended. What was received is still written.
    fn end(&self) {
        let mut attachment = self.0.attached.lock().expect("no panic while held");
        if let Attachment::Is(attached) = std::mem::replace(&mut *attachment, Attachment::Ended) {
            self.0.state.old_nodes.detach(&attached.node);
            tracing::info!(node = %truncate(&attached.node.id, LOGGED_BYTES), "an old node is gone");
        }
    }
}
