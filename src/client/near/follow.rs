//! The tasks of a near cache: follow the stream of changes, and confirm it while changes come without a pause.

use super::Inner;
use crate::api::{ErrorCode, WatchMessage};
use crate::client::error::ClientError;
use crate::client::position::Positioned;
use crate::client::watch::{WatchOptions, Watching};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Pause after a watch that failed, which has looked for a node for a while by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Begins to follow, and returns when the stream has begun.
pub(super) async fn start(inner: Arc<Inner>) -> Result<JoinSet<()>, ClientError> {
    // Tells how log time and this machine's clock are related. Later reads do so, too.
    if let Ok(Positioned { at, value }) = inner.client.log_time().await {
        let sent_at = inner.local(at.sent_at);
        inner.change().fresh.sample(sent_at, value.time_ms);
    }
    let mut watching = watch(&inner);
    loop {
        let message = watching.next().await?;
        let has_begun = matches!(message, WatchMessage::Subscribed { .. } | WatchMessage::Resync { .. });
        hear(&inner, message);
        if has_begun {
            break;
        }
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(Arc::clone(&inner), watching));
    tasks.spawn(probe(inner));
    Ok(tasks)
}

fn watch(inner: &Inner) -> Watching {
    let options = &inner.options;
    inner.client.watch(WatchOptions {
        prefixes: options.prefixes.clone(),
        values: options.updates,
        ..WatchOptions::default()
    })
}

fn hear(inner: &Inner, message: WatchMessage) {
    let now = inner.now();
    inner.change().hear(message, now, &inner.options);
}

async fn follow(inner: Arc<Inner>, mut watching: Watching) {
    loop {
        let next = tokio::select! {
            next = watching.next() => next,
            () = inner.has_left.notified() => {
                watching.leave_node();
                watching = watch(&inner);
                continue;
            }
        };
        match next {
            Ok(message) => hear(&inner, message),
            Err(error) => {
                tracing::debug!(%error, "the stream of changes is lost");
                if error.code() == ErrorCode::OtherHistory {
                    inner.change().leave_history();
                    watching = watch(&inner);
                }
                // Meanwhile the age of what is held grows. A token that was refused may be good again later.
                sleep(PAUSE).await;
            }
        }
    }
}

/// While changes come without a pause there are no bookmarks. The index of a linearizable answer confirms the stream in their
/// place, once it has come so far.
async fn probe(inner: Arc<Inner>) {
    loop {
        sleep(inner.options.probe).await;
        let is_wanted = inner.too_old.swap(false, Ordering::Relaxed) && inner.look().has_changed;
        if !is_wanted {
            continue;
        }
        let Ok(Positioned { at, value }) = inner.client.log_time().await else { continue };
        let sent_at = inner.local(at.sent_at);
        let mut state = inner.change();
        if !inner.is_ours(&mut state, &at.history) {
            continue;
        }
        state.fresh.sample(sent_at, value.time_ms);
        if let Some(place) = state.place() {
            state.fresh.answered(at.index, sent_at, place);
        }
    }
}
