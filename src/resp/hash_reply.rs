//! Fields of a hash as a reply. They stay in the bytes of the value until they are sent, however many they are.

use super::reply::{Protocol, bulk, head, null};
use crate::cache::Hash;
use bytes::{Bytes, BytesMut};

/// What a field takes at most beside its name and its value: the lengths of both, line ends, and the length of an array of both.
const FIELD_BYTES: usize = 30;

/// Fields of a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HashReply {
    value: Bytes,
    /// Which fields, in their order; `None` for one is that there is no such field. `None` for all is all.
    places: Option<Vec<Option<u32>>>,
    form: Form,
    bytes: usize,
}

/// What is told of each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Names,
    Values,
    /// Both, as a map.
    Map,
    /// Both, one after another, in both versions of the protocol.
    Flat,
    /// Both, as an array of two; in version 2 one after another.
    Pairs,
}

impl HashReply {
    /// `None`: the value is no hash.
    pub fn new(value: Bytes, places: Option<Vec<Option<u32>>>, form: Form) -> Option<Self> {
        let hash = Hash::open(&value)?;
        let told = |field: Option<(&[u8], &[u8])>| {
            let (name, value) = field.unwrap_or_default();
            FIELD_BYTES
                + match form {
                    Form::Names => name.len(),
                    Form::Values => value.len(),
                    Form::Map | Form::Flat | Form::Pairs => name.len() + value.len(),
                }
        };
        let bytes = match &places {
            None => value.len() + FIELD_BYTES * hash.len(),
            Some(places) => places.iter().map(|place| told(at(hash, *place))).sum(),
        };
        Some(Self { value, places, form, bytes })
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends it as it is sent.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        // It was one when this was made.
        let Some(hash) = Hash::open(&self.value) else { return null(protocol, out) };
        let count = self.places.as_ref().map_or(hash.len(), Vec::len);
        let is_new = protocol == Protocol::Resp3;
        match self.form {
            Form::Map if is_new => head(out, b'%', count),
            Form::Pairs if is_new => head(out, b'*', count),
            Form::Names | Form::Values => head(out, b'*', count),
            Form::Map | Form::Flat | Form::Pairs => head(out, b'*', 2 * count),
        }
        let mut one = |field: Option<(&[u8], &[u8])>| {
            let Some((name, value)) = field else { return null(protocol, out) };
            if self.form == Form::Pairs && is_new {
                head(out, b'*', 2);
            }
            if self.form != Form::Values {
                bulk(out, name);
            }
            if self.form != Form::Names {
                bulk(out, value);
            }
        };
        match &self.places {
            None => hash.fields().for_each(|field| one(Some(field))),
            Some(places) => places.iter().for_each(|place| one(at(hash, *place))),
        }
    }
}

fn at(hash: Hash<'_>, place: Option<u32>) -> Option<(&[u8], &[u8])> {
    hash.at(usize::try_from(place?).ok()?)
}
