//! What clients call themselves and their requests, as watchers are told.

/// How such a key begins. The header `Idempotency-Key` can have no line feed, so no other client's key is taken for one.
const MARK: &str = "old-node\n";

/// What a client called itself and its request, so that it can recognise its own changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientNames {
    pub origin: Option<Box<str>>,
    pub idempotency_key: Option<Box<str>>,
    pub old_node_operation: Option<OldNodeOperation>,
}

impl ClientNames {
    /// From what a log entry says. There, an idempotency key stands behind whose it is, and a line feed.
    pub(super) fn of(origin: Option<&str>, idempotency_key: Option<&str>) -> Option<Box<Self>> {
        if origin.is_none() && idempotency_key.is_none() {
            return None;
        }
        let old_node_operation = idempotency_key.and_then(OldNodeOperation::of_key);
        let own = |key: &str| key.split_once('\n').map_or(key, |(_, key)| key).into();
        let idempotency_key = match &old_node_operation {
            Some(operation) => Some(operation.operation_id().into()),
            None => idempotency_key.map(own),
        };
        Some(Box::new(Self { origin: origin.map(Into::into), idempotency_key, old_node_operation }))
    }

    pub(super) fn bytes(&self) -> usize {
        let text =
            |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| 2 * size_of::<usize>() + text.len());
        let old_node = self.old_node_operation.as_ref().map_or(0, OldNodeOperation::bytes);
        size_of::<Self>() + text(&self.origin) + text(&self.idempotency_key) + old_node
    }
}

/// An operation that a node of the original Node.js cache server made before it reached the cluster. It sends its own id and one for
/// each operation; both travel in the idempotency key, so every node knows them from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldNodeOperation {
    text: Box<str>,
    /// Where the operation's id begins.
    at: usize,
}

impl OldNodeOperation {
    /// The idempotency key of an operation that this node of the original server made. Neither id has a control character.
    pub fn key(node_id: &str, operation_id: &str) -> String {
        format!("{MARK}{node_id}\n{operation_id}")
    }

    /// The operation that an idempotency key tells, if it is such a key. The cluster puts the id of a token before a client's key,
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
    fn an_operation_comes_back_from_its_key_and_from_no_other() {
        let key = OldNodeOperation::key("node-5000", "op/1");
        for key in [key.clone(), format!("tokenid\n{key}")] {
            let origin = OldNodeOperation::of_key(&key).unwrap();
            assert_eq!((origin.node_id(), origin.operation_id()), ("node-5000", "op/1"), "{key:?}");
        }
        for key in ["", "old-node", "old-node/a/b", "tokenid\nold-node/a/b", "old-node\na"] {
            assert_eq!(OldNodeOperation::of_key(key), None, "{key:?}");
        }
    }
}
