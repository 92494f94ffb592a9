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
        let told = match &places {
            None => FIELD_BYTES * hash.len() + value.len(),
            Some(places) => {
                let mut told = FIELD_BYTES * places.len();
                let mut tell = |word: Option<&[u8]>| told += word.map_or(0, <[u8]>::len);
                places.iter().for_each(|place| form.tell(at(hash, *place), &mut tell));
                told
            }
        };
        Some(Self { value, places, form, bytes: told })
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its names and values one after another, as in version 2 of the protocol; `None` where there is no such field.
    pub fn words(&self) -> Vec<Option<&[u8]>> {
        let mut words = Vec::new();
        self.fields().for_each(|field| self.form.tell(field, |word| words.push(word)));
        words
    }

    /// Appends it as it is sent.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        let (count, is_new) = (self.count(), protocol == Protocol::Resp3);
        match self.form {
            Form::Map if is_new => head(out, b'%', count),
            Form::Pairs if is_new => head(out, b'*', count),
            Form::Names | Form::Values => head(out, b'*', count),
            Form::Map | Form::Flat | Form::Pairs => head(out, b'*', 2 * count),
        }
        for field in self.fields() {
            if self.form == Form::Pairs && is_new {
                head(out, b'*', 2);
            }
            self.form.tell(field, |word| match word {
                Some(word) => bulk(out, word),
                None => null(protocol, out),
            });
        }
    }

    fn count(&self) -> usize {
        match &self.places {
            Some(places) => places.len(),
            // It was a hash when this was made.
            None => Hash::open(&self.value).map_or(0, |hash| hash.len()),
        }
    }

    fn fields(&self) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
        let hash = Hash::open(&self.value);
        (0..self.count()).map(move |number| match &self.places {
            Some(places) => at(hash?, *places.get(number)?),
            None => hash?.at(number),
        })
    }
}

impl Form {
    /// Tells the words of a field.
    fn tell<'a>(self, field: Option<(&'a [u8], &'a [u8])>, mut tell: impl FnMut(Option<&'a [u8]>)) {
        if self != Self::Values {
            tell(field.map(|(name, _)| name));
        }
        if self != Self::Names {
            tell(field.map(|(_, value)| value));
        }
    }
}

fn at(hash: Hash<'_>, place: Option<u32>) -> Option<(&[u8], &[u8])> {
    hash.at(usize::try_from(place?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields `a` with `1`, and `b` with nothing.
    const HASH: &[u8] = b"\x01\x02\0\0\0\x03\0\0\0\x05\0\0\0\x01a1\x01b";

    fn both(places: Option<Vec<Option<u32>>>, form: Form) -> [String; 2] {
        let reply = HashReply::new(Bytes::from_static(HASH), places, form).unwrap();
        [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut out = BytesMut::new();
            reply.encode(protocol, &mut out);
            assert!(out.len() <= reply.bytes() + 16, "{form:?}");
            String::from_utf8(out.to_vec()).unwrap()
        })
    }

    #[test]
    fn fields_are_told_as_the_protocol_says() {
        let flat = "$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n";
        assert_eq!(both(None, Form::Map), [format!("*4\r\n{flat}"), format!("%2\r\n{flat}")]);
        assert_eq!(both(None, Form::Flat), [format!("*4\r\n{flat}"), format!("*4\r\n{flat}")]);
        let pairs = "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$0\r\n\r\n";
        assert_eq!(both(None, Form::Pairs), [format!("*4\r\n{flat}"), pairs.to_owned()]);
        let names = "*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        assert_eq!(both(None, Form::Names), [names, names]);
        let some = |nil: &str| format!("*3\r\n$0\r\n\r\n{nil}$1\r\n1\r\n");
        let places = Some(vec![Some(1), None, Some(0)]);
        assert_eq!(both(places, Form::Values), [some("$-1\r\n"), some("_\r\n")]);
        assert_eq!(both(Some(Vec::new()), Form::Pairs), ["*0\r\n", "*0\r\n"]);
    }

    #[test]
    fn what_is_no_hash_has_no_fields() {
        assert_eq!(HashReply::new(Bytes::from_static(b"x"), None, Form::Map), None);
    }
}
