//! What other connections have for a client: keys whose values it must not use any more.

use bytes::Bytes;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Bytes of keys that wait for a client. It is told to forget everything once there would be more.
const BYTES_MAX: usize = 1024 * 1024;
/// What a key takes beside its own bytes.
const KEY_BYTES: usize = 64;

/// What a client must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    Everything,
    Keys(Vec<Bytes>),
}

/// What waits for a client. It never has more than [`BYTES_MAX`]: whoever reads too slowly forgets more than it would have to.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they came, each with the user who has read these keys.
    parts: Vec<(String, Vec<Bytes>)>,
    bytes: usize,
    everything: bool,
}

impl Inbox {
    /// Adds something for the client that this user has read, and wakes up its connection.
    pub fn add(&self, forget: Forget, user: &str) {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        match forget {
            // It is told so after this has changed, too.
            _ if waiting.everything => {}
            Forget::Everything => waiting.forget_everything(),
            Forget::Keys(keys) => {
                let bytes = user.len() + keys.iter().map(|key| KEY_BYTES + key.len()).sum::<usize>();
                if waiting.bytes + bytes > BYTES_MAX {
                    waiting.forget_everything();
                } else {
                    waiting.bytes += bytes;
                    waiting.parts.push((user.to_owned(), keys));
                }
            }
        }
        drop(waiting);
        self.came.notify_one();
    }

    /// Takes out what waits, in its order, for a client that is this user by now. What another user has read it is not told: it has to
    /// forget everything then.
    pub fn take(&self, user: &str) -> Vec<Forget> {
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("no panic while held"));
        match waiting.everything || waiting.parts.iter().any(|(reader, _)| reader != user) {
            true => vec![Forget::Everything],
            false => waiting.parts.into_iter().map(|(_, keys)| Forget::Keys(keys)).collect(),
        }
    }

    /// The client does not listen: if something waits, it will have to forget everything once it does.
    pub fn keep(&self) {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        if !waiting.parts.is_empty() {
            waiting.forget_everything();
        }
    }

    /// About how many bytes wait.
    pub fn bytes(&self) -> usize {
        self.waiting.lock().expect("no panic while held").bytes
    }

    /// Returns once something has come since it was looked at last.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

impl Waiting {
    fn forget_everything(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&'static str]) -> Forget {
        Forget::Keys(keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect())
    }

    #[test]
    fn what_waits_is_taken_in_its_order() {
        let inbox = Inbox::default();
        assert_eq!(inbox.take("u"), []);
        inbox.add(keys(&["a", "b"]), "u");
        inbox.add(keys(&["c"]), "u");
        assert_eq!(inbox.bytes(), 3 * (KEY_BYTES + 1) + 2);
        assert_eq!(inbox.take("u"), [keys(&["a", "b"]), keys(&["c"])]);
        inbox.add(keys(&["a"]), "u");
        inbox.add(Forget::Everything, "u");
        inbox.add(keys(&["b"]), "u");
        assert_eq!(inbox.bytes(), 0);
        assert_eq!(inbox.take("u"), [Forget::Everything]);
        assert_eq!(inbox.take("u"), []);
    }

    #[test]
    fn nobody_is_told_what_another_user_has_read() {
        let inbox = Inbox::default();
        inbox.add(keys(&["a"]), "u");
        inbox.add(keys(&["b"]), "v");
        assert_eq!(inbox.take("v"), [Forget::Everything]);
        inbox.add(keys(&["b"]), "v");
        assert_eq!(inbox.take("v"), [keys(&["b"])]);
    }

    #[test]
    fn what_does_not_fit_or_is_not_heard_becomes_everything() {
        let inbox = Inbox::default();
        for _ in 0..2 * BYTES_MAX / KEY_BYTES {
            inbox.add(keys(&["a"]), "");
            assert!(inbox.bytes() <= BYTES_MAX);
        }
        assert_eq!(inbox.take(""), [Forget::Everything]);
        inbox.keep();
        assert_eq!(inbox.take(""), [], "nothing had come");
        inbox.add(keys(&["a"]), "");
        inbox.keep();
        assert_eq!(inbox.take(""), [Forget::Everything]);
    }
}
