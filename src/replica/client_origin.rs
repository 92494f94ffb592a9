//! Who outside the cluster made an operation before it reached a node: a node of the original Node.js cache server sends its
//! operations with its own id and an id for each. Both travel in the idempotency key, so every node knows them from the log.

/// How such a key begins. The header `Idempotency-Key` can have no line feed, so no other client's key is taken for one.
const MARK: &str = "old-node\n";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOrigin {
    text: Box<str>,
    /// Where the operation's id begins.
    at: usize,
}

impl ClientOrigin {
    /// The idempotency key of an operation that this node of the original server made. Neither id has a control character.
    pub fn key(node_id: &str, operation_id: &str) -> String {
        format!("{MARK}{node_id}\n{operation_id}")
    }

    /// The origin that an idempotency key tells, if it is such a key. The cluster puts the id of a token before a client's key,
    /// in a line of its own.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let rest = key.strip_prefix(MARK).or_else(|| key.split_once('\n')?.1.strip_prefix(MARK))?;
        let (node_id, _) = rest.split_once('\n')?;
        Some(Self { text: rest.into(), at: node_id.len() + 1 })
    }

    /// The node that made it.
    pub fn node_id(&self) -> &str {
        &self.text[..self.at - 1]
    }

    /// Its name for the operation.
    pub fn operation_id(&self) -> &str {
        &self.text[self.at..]
    }

    /// Bytes of memory behind it.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_comes_back_from_its_key_and_from_no_other() {
        let key = ClientOrigin::key("node-5000", "op/1");
        for key in [key.clone(), format!("tokenid\n{key}")] {
            let origin = ClientOrigin::of_key(&key).unwrap();
            assert_eq!((origin.node_id(), origin.operation_id()), ("node-5000", "op/1"), "{key:?}");
        }
        for key in ["", "old-node", "old-node/a/b", "tokenid\nold-node/a/b", "old-node\na"] {
            assert_eq!(ClientOrigin::of_key(key), None, "{key:?}");
        }
    }
}
