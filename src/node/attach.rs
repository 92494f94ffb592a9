//! The way back of a node that had left its cluster on purpose. Its changes are brought in from outside, by `merging`; here is
//! what the node itself does: it holds still for the last of them, and then becomes a new member with an empty folder.

use super::error::NodeError;
use super::inner::Inner;
use super::rejoin::Rejoin;
use super::start::Node;
use crate::api::{DetachStatus, Detachment, TokenText};
use crate::raft::offload;
use crate::storage::FolderSwitch;
use crate::tls::{Certificates, ClientTls};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the folders are named that keep what a detached node had.
const ASIDE: &str = "attached-";

/// A detached node that is about to come back. When it is dropped before, the node goes on as it was.
pub struct Attaching {
    node: Node,
    has_gone: bool,
}

impl Drop for Attaching {
    fn drop(&mut self) {
        if !self.has_gone {
            self.node.inner.departure.end();
        }
    }
}

impl Node {
    /// How this node is detached; `None` if it takes part in its cluster.
    pub fn detachment(&self) -> Option<Detachment> {
        self.inner.detachment()
    }

    /// The same, and whether it is about to change.
    pub fn detach_status(&self) -> DetachStatus {
        DetachStatus {
            detached: self.detachment(),
            busy: self.inner.departure.is_busy(),
            attach: Default::default(),
        }
    }

    /// What this node shows where it asks a cluster.
    pub fn token(&self) -> Option<TokenText> {
        self.inner.options.token.clone()
    }

    /// The certificates of this node's ports.
    pub fn certificates(&self) -> &Certificates {
        &self.inner.options.certificates
    }

    /// How this node calls others where they speak HTTPS.
    pub fn client_tls(&self) -> &ClientTls {
        &self.inner.options.client_tls
    }

    /// The folder with this node's data.
    pub fn data_dir(&self) -> &Path {
        &self.inner.options.data_dir
    }

    /// Begins the way back of a detached node.
    ///
    /// # Errors
    /// [`NodeError::Conflict`]: it is not detached, or on its way already.
    pub fn begin_to_attach(&self) -> Result<Attaching, NodeError> {
        self.inner.refuse_when_draining()?;
        if self.detachment().is_none() {
            return Err(NodeError::Conflict("this node is not detached from its cluster".into()));
        }
        self.inner.departure.begin()?;
        Ok(Attaching { node: self.clone(), has_gone: false })
    }
}

impl Attaching {
    /// From here on the node takes no writes from clients. Returns once those under way have ended.
    pub async fn freeze(&self) {
        self.node.inner.departure.stop_writes();
        self.node.inner.admission.idle().await;
    }

    /// From here on whatever the node has may become common, because it comes in while the node goes on changing it.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn announce(&self) -> Result<(), NodeError> {
        let histories = self.node.lineage().histories();
        let Some(left) = histories.len().checked_sub(2).map(|at| histories[at].id.clone()) else {
            return Ok(());
        };
        self.node.inner.note_all(left).await
    }

    /// The name and the addresses that the node will have again.
    pub fn own_record(&self) -> (String, String, String) {
        let Inner { identity, options, .. } = &*self.node.inner;
        let name = options.name.clone().unwrap_or_else(|| identity.name.clone());
        (name, options.http_advertise.clone(), identity.peer.clone())
    }

    /// The number that the node had in its cluster.
    pub fn former_id(&self) -> Option<u64> {
        self.node.inner.identity.detached.as_ref().map(|detached| detached.node_id)
    }

    /// Decides that the node is a new member, of the history and by the URL that are given, with an empty folder. What it had goes
    /// aside. It has to be opened again once [`Attaching::go`] was called, or after a crash.
    ///
    /// # Errors
    /// The folder cannot be written; it is as it was.
    pub async fn become_new(&self, history: &str, url: &str) -> Result<(), NodeError> {
        let inner = &self.node.inner;
        let rejoin = Rejoin {
            history: history.to_owned(),
            url: url.to_owned(),
            name: inner.identity.name.clone(),
            peer: inner.identity.peer.clone(),
            voter: inner.identity.detached.as_ref().is_none_or(|detached| detached.voter),
            voters_awaited: 0,
            comes_from: Some(inner.identity.lineage.current().id.clone()),
        };
        let folder = self.node.data_dir().to_owned();
        let aside = format!("{ASIDE}{}", inner.identity.lineage.current().id);
        let deciding = offload(move || {
            // An error after the decision does not undo it.
            decide(&folder, &rejoin, &aside).or_else(|error| match FolderSwitch::is_decided(&folder) {
                true => Ok(()),
                false => Err(error),
            })
        });
        let decided = deciding.await.map_err(|error| NodeError::Fatal(error.to_string()))?;
        decided.map_err(|error| NodeError::Unavailable(format!("cannot exchange the data folder: {error}")))
    }

    /// Ends the service of the detached node: see [`Node::reopens`].
    pub fn go(mut self) {
        self.has_gone = true;
        self.node.inner.departure.go();
    }
}

/// Only what was put aside last is kept, so that a node which leaves and comes back again and again does not fill its disk.
fn decide(folder: &Path, rejoin: &Rejoin, aside: &str) -> io::Result<()> {
    let switch = FolderSwitch::prepare(folder)?;
    rejoin.save(&switch.next())?;
    let target = switch.aside(aside);
    for earlier in earlier_ones(&target)? {
        fs::remove_dir_all(earlier)?;
    }
    switch.commit(aside)
}

fn earlier_ones(target: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(all) = target.parent().filter(|all| all.is_dir()) else { return Ok(Vec::new()) };
    let is_one =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE));
    let found = fs::read_dir(all)?.map(|entry| entry.map(|entry| entry.path()));
    Ok(found.collect::<io::Result<Vec<PathBuf>>>()?.into_iter().filter(is_one).collect())
}
