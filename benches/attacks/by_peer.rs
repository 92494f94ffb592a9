//! Attacks on the port for peers.

use crate::attacker::{Target, ask, connect, discard, many, tried};
use bytes::{BufMut, BytesMut};
use futures::future::BoxFuture;
use lockstep::lineage::Lineage;
use lockstep::peer::{Hello, Lane, PeerIdentity, Protocols};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::AsyncWriteExt;

/// Connections at a time that send half of something: half of them of a handshake, half of a frame after it.
const HALF_FRAMES: u64 = 128;
/// One byte less than the longest frame.
const FRAME_BYTES: u32 = (32 << 20) - 1;
/// Sent at a time.
const PART_BYTES: usize = 256 * 1_024;

/// The frame of a handshake, of a caller with this id.
fn hello(target: &Target, cluster_id: String, from: u64) -> BytesMut {
    let lineage = Lineage::founded(&cluster_id, 0).into();
    let me = PeerIdentity { lineage, node_id: from, protocols: Protocols::THIS };
    let hello = Hello::new(&me, target.node_id, Lane::Append).encode();
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(hello.len()).expect("short"));
    frame.put_slice(&hello);
    frame
}

/// Frames that are begun and not ended. The callers know the cluster's id, and are no members.
pub fn half_frames(target: Target) -> BoxFuture<'static, ()> {
    let part: Arc<[u8]> = vec![0; PART_BYTES].into();
    Box::pin(many(HALF_FRAMES, move |number| {
        let (target, part) = (target.clone(), part.clone());
        async move {
            let mut stream = connect(target.peer).await;
            tried();
            let mut opening = hello(&target, target.cluster_id.clone(), 5_000 + number);
            let is_handshake = number % 2 == 0;
            let mut left = if is_handshake {
                opening.truncate(opening.len() / 2);
                0
            } else {
                opening.put_u32(FRAME_BYTES);
                FRAME_BYTES as usize / 2
            };
            let mut sent = stream.write_all(&opening).await;
            while sent.is_ok() && left > 0 {
                let length = left.min(part.len());
                sent = stream.write_all(&part[..length]).await;
                left -= length;
            }
            if sent.is_ok() {
                discard(&stream).await;
            }
        }
    }))
}

/// Handshakes of ever other clusters.
pub fn strangers(target: Target) -> BoxFuture<'static, ()> {
    let number = Arc::new(AtomicU64::new(0));
    Box::pin(many(8, move |_| {
        let id = format!("{}{}", number.fetch_add(1, Relaxed), "x".repeat(1_000));
        let target = target.clone();
        async move {
            ask(target.peer, &hello(&target, id, 7)).await;
            tried();
        }
    }))
}
