//! The scripts that clients have sent to this node, by the SHA-1 of their text. Each node has its own, as each Redis server has: whoever
//! is told `NOSCRIPT` sends the text again.

use bytes::Bytes;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Scripts, and bytes of all of them, that are kept. The oldest one makes room.
const SCRIPTS_MAX: usize = 4_096;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ScriptStore(Mutex<Scripts>);

#[derive(Debug, Default)]
struct Scripts {
    texts: BTreeMap<String, Bytes>,
    order: VecDeque<String>,
    bytes: usize,
}

impl ScriptStore {
    /// Keeps a script. Returns its name.
    pub fn add(&self, text: &Bytes) -> String {
        let name = sha1(text);
        let mut scripts = self.0.lock().expect("no panic while held");
        // A copy: what arrived with it is not kept.
        if scripts.texts.insert(name.clone(), Bytes::copy_from_slice(text)).is_none() {
            scripts.bytes += text.len();
            scripts.order.push_back(name.clone());
        }
        while scripts.order.len() > SCRIPTS_MAX || (scripts.bytes > BYTES_MAX && scripts.order.len() > 1) {
            let Some(oldest) = scripts.order.pop_front() else { break };
            let text = scripts.texts.remove(&oldest);
            scripts.bytes -= text.map_or(0, |text| text.len());
        }
        name
    }

    /// The script of this name, however it is written.
    pub fn get(&self, name: &[u8]) -> Option<Bytes> {
        let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
        self.0.lock().expect("no panic while held").texts.get(&name).cloned()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().expect("no panic while held").order.len()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        *self.0.lock().expect("no panic while held") = Scripts::default();
    }
}

/// The SHA-1 of a text, in hexadecimal digits. It is a name, nothing relies on it.
pub(super) fn sha1(text: &[u8]) -> String {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_names_and_bounds() {
        let store = ScriptStore::default();
        assert_eq!(store.add(&Bytes::from_static(b"return 1")), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert!(store.get(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB").is_some());
        for number in 0..100 {
            store.add(&format!("return {number}{}", " ".repeat(200_000)).into());
            let scripts = store.0.lock().unwrap();
            assert!(scripts.bytes <= BYTES_MAX && scripts.order.len() == scripts.texts.len());
            assert_eq!(scripts.bytes, scripts.texts.values().map(Bytes::len).sum::<usize>());
        }
        assert!(store.get(b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db").is_none());
        store.clear();
        assert!(store.0.lock().unwrap().texts.is_empty());
    }
}
