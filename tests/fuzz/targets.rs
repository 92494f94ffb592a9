//! What reads bytes from outside.

#[path = "../support/certs.rs"]
mod certs;

use crate::foreign_tokens::foreign_tokens;
use crate::redis::redis;
use crate::samples::{appends, encoded, entries, envelopes, hellos, snapshots, texts, touches, welcomes};
use bytes::Bytes;
use certs::Authority;
use lockstep::api::{BatchRequest, CreateToken, JoinTokenText, LiveRequest, RotateToken, TokenText};
use lockstep::cache::{Cache, Key};
use lockstep::http::parsers;
use lockstep::node::Principal;
use lockstep::peer::{FrameError, Hello, Request, Welcome, decode_reply, decode_request, frame, read_frame};
use lockstep::raft::{decode_append, decode_entry, encode_append, encode_entry};
use lockstep::replica::{Envelope, decode_touches, encode_touches};
use lockstep::tls::{CertFiles, Certificate, SigningRequest, read_owners};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

/// The version of the peer protocol in frames.
const PROTOCOL: u8 = 1;
/// What may be reserved for lists, before their elements are there.
const LIST_BYTES: usize = 64 * 1024;

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// Its share of all inputs.
    pub weight: u64,
    pub samples: Vec<Vec<u8>>,
    pub magic: &'static [&'static [u8]],
    /// Bytes that it may hold at a time: so many, and so many for each of the input.
    pub bytes_fixed: usize,
    pub bytes_each: usize,
    pub run: Run,
}

/// Whether the input is taken. An error: it is not read as it was written.
type Run = Box<dyn Fn(&[u8]) -> Result<bool, String>>;

impl Target {
    pub fn new(
        name: &'static str,
        samples: Vec<Vec<u8>>,
        run: impl Fn(&[u8]) -> Result<bool, String> + 'static,
    ) -> Self {
        let run = Box::new(run);
        Self { name, weight: 10, samples, magic: &[], bytes_fixed: 4 * 1024, bytes_each: 16, run }
    }

    /// For texts: what is not UTF-8 does not get there.
    pub fn text(
        name: &'static str,
        samples: &[&str],
        run: impl Fn(&str) -> Result<bool, String> + 'static,
    ) -> Self {
        Self::new(name, texts(samples), move |bytes| std::str::from_utf8(bytes).map_or(Ok(false), &run))
    }

    fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        name: &'static str,
        samples: &[&str],
    ) -> Self {
        let target = Self::new(name, texts(samples), |bytes| {
            round_trip(
                serde_json::from_slice::<T>(bytes).ok(),
                |value| serde_json::to_vec(value).expect("it is written"),
                |bytes| serde_json::from_slice(bytes).ok(),
            )
        });
        Self { bytes_each: 64, ..target }
    }

    /// For formats with lists that announce how many elements they have.
    fn with_lists(self) -> Self {
        Self { bytes_fixed: LIST_BYTES, ..self }
    }
}

/// What was read must come out the same when it is written and read again.
fn round_trip<T: PartialEq + Debug>(
    read: Option<T>,
    write: impl Fn(&T) -> Vec<u8>,
    read_again: impl Fn(&[u8]) -> Option<T>,
) -> Result<bool, String> {
    let Some(value) = read else { return Ok(false) };
    let written = write(&value);
    match read_again(&written) {
        Some(again) if again == value => Ok(true),
        again => Err(format!("{value:?} is written as {}, and read as {again:?}", written.escape_ascii())),
    }
}

/// Whether a part is one of the whole.
fn part_of(part: Option<&str>, whole: &str) -> Result<bool, String> {
    match part {
        Some(part) if part.is_empty() || !whole.contains(part) => Err(format!("{part:?} is no part of it")),
        part => Ok(part.is_some()),
    }
}

/// Those that get bytes before a client or a peer has shown who it is, and those that get them from a peer or from a file.
pub fn targets(dir: &Path) -> Vec<Target> {
    [
        http(),
        json(),
        peers(),
        foreign_tokens(dir),
        redis(),
        vec![
            Target { weight: 1, ..snapshot() },
            certificate(dir),
            Target { weight: 1, ..pem(dir) },
            join_token(),
            signing_request(),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

const TOKEN: &str = "lsk_abcdefghij_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn http() -> Vec<Target> {
    let bearer = format!("Bearer {TOKEN}");
    let token = Target::text("token", &[TOKEN], |text| {
        let principal = Principal::of_token(text);
        let id = principal.as_ref().and_then(|it| it.token_id().map(str::to_owned));
        part_of(id.as_deref(), text)
    });
    let shown = [&bearer[..], &bearer.replace("Bearer", "bearer")];
    let authorization =
        Target::new("authorization", texts(&shown), |bytes| Ok(parsers::authorization(bytes).is_some()));
    let cookies = [&format!("a=b; lockstep-12345678={TOKEN}; c=d"), "lockstep-12345678=x"];
    let cookie = Target::new("cookie", texts(&cookies), |bytes| {
        let Some(found) = parsers::cookie(bytes, "lockstep-12345678") else { return Ok(false) };
        match String::from_utf8_lossy(bytes).contains(&format!("lockstep-12345678={found}")) {
            true => Ok(true),
            false => Err(format!("{found:?} is not in it")),
        }
    });
    let hosts = ["localhost:5000", "[::1]:5000", "10.0.0.7", "cache-1.example", "a.localhost:1"];
    let host = Target::text("host", &hosts, |text| {
        let found = parsers::host(text);
        if let Some((host, true)) = found {
            // What is ours whatever the settings must not be a name that somebody can have.
            let bare = host.trim_matches(['[', ']']);
            let is_local = host.to_ascii_lowercase().ends_with("localhost");
            if bare.parse::<std::net::IpAddr>().is_err() && !is_local {
                return Err(format!("{host} is taken for this machine's"));
            }
        }
        part_of(found.map(|(host, _)| host), text)
    });
    let origins = ["http://localhost:5000", "https://shop.example", "http://[::1]:80/x", "null"];
    let origin = Target::text("origin", &origins, |text| part_of(parsers::origin(text), text));
    let urls = ["https://shop.example,http://localhost:3000", "http://[::1]:1"];
    let frontends = Target::text("frontends", &urls, |text| Ok(parsers::frontends(text).is_some()));
    let cursors = ["42", "42@1f0c9a3b", "0", "18446744073709551615@1f0c9a3b-7d11-4b5e-9a53-000000000000"];
    let cursor = Target::text("cursor", &cursors, |text| {
        round_trip(
            parsers::cursor(text),
            |cursor| cursor.clone().into_bytes(),
            |bytes| parsers::cursor(std::str::from_utf8(bytes).ok()?),
        )
    });
    let queries = ["/v1/kv/k?consistency=stale&min_index=5", "/v1/kv/k?min_index=5%401f0c9a3b", "/v1/kv/k"];
    let query = Target::text("query", &queries, |text| Ok(parsers::read_query(text).is_some()));
    let key = Target::text("key", &["cart:1", "\u{e4}", "a/b"], |text| {
        let key = Key::new(text).ok();
        part_of(key.as_ref().map(Key::as_str), text)
    });
    let each = |target, magic| Target { magic, ..target };
    vec![
        each(token, &[b"lsk_", b"_"]),
        each(authorization, &[b"Bearer ", b"bearer\t", b"Basic ", b"lsk_"]),
        each(cookie, &[b"lockstep-12345678=", b"; ", b"=;="]),
        each(host, &[b"localhost", b".localhost", b"[", b"]", b"127.0.0.1", b":65536"]),
        each(origin, &[b"http://", b"localhost", b"[::1]", b"/"]),
        Target { bytes_each: 64, ..each(frontends, &[b"http://", b",", b"*", b"user@"]) },
        each(cursor, &[b"@", b"@1f0c9a3b", b"00"]),
        Target { bytes_each: 64, ..each(query, &[b"?", b"&", b"min_index=", b"%C3%A4", b"+"]) },
        key,
    ]
}

fn json() -> Vec<Target> {
    let tokens = [
        r#"{"name":"shop","grants":[{"role":"write","prefix":"cart:"},{"role":"observe"}],"ttl_ms":60000}"#,
        r#"{"name":"","grants":[]}"#,
    ];
    let batches = [
        r#"{"ops":[{"op":"put","key":"a","value":"v","ttl_ms":5,"if_absent":true},{"op":"get","key":"b"}]}"#,
        r#"{"ops":[{"op":"incr","key":"n","by":-3},{"op":"delete","key":"a","if_revision":7}]}"#,
    ];
    let live = [r#"{"subscribe":{"id":"1","prefix":"a","from":5,"values":false}}"#, r#"{"unsubscribe":"1"}"#];
    let magic: &[&[u8]] = &[b"\"", b",", b"{}", b"[]", b"\"role\":\"admin\"", b"\"op\":", b"\\ud83d\\ude00"];
    let targets = vec![
        Target::json::<CreateToken>("create token", &tokens),
        Target::json::<RotateToken>("rotate token", &[r#"{"overlap_ms":3600000}"#, "{}"]),
        Target::json::<BatchRequest>("batch", &batches),
        Target::json::<LiveRequest>("live", &live),
    ];
    targets.into_iter().map(|target| Target { magic, ..target }).collect()
}

fn peers() -> Vec<Target> {
    let hello = Target::new("hello", hellos(), |bytes| {
        round_trip(Hello::decode(bytes).ok(), Hello::encode, |bytes| Hello::decode(bytes).ok())
    });
    let welcome = Target::new("welcome", welcomes(), |bytes| {
        round_trip(Welcome::decode(bytes).ok(), Welcome::encode, |bytes| Welcome::decode(bytes).ok())
    });
    let content = |kind: u8| [&[PROTOCOL, kind, 0, 0, 0, 0][..], &7_u64.to_be_bytes(), b"body"].concat();
    let request = Target::new("request", vec![content(1), content(16)], |bytes| {
        let decode = |bytes: &[u8]| decode_request(PROTOCOL, Bytes::copy_from_slice(bytes)).ok();
        round_trip(
            decode(bytes),
            |request: &Request| request.clone().into_frame(PROTOCOL).to_bytes()[4..].to_vec(),
            decode,
        )
    });
    let reply = Target::new("reply", vec![content(0), content(1), content(2)], |bytes| {
        Ok(decode_reply(PROTOCOL, Bytes::copy_from_slice(bytes)).is_ok())
    });
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let frames = [frame(b"").to_vec(), frame(&content(1)).to_vec(), frame(&[7; 300]).to_vec()];
    let stream = Target::new("stream of frames", frames.to_vec(), move |bytes| read_frames(&runtime, bytes));
    let envelope = Target::new("command", envelopes(), |bytes| {
        let decode = |bytes: &[u8]| Envelope::decode(bytes).ok();
        round_trip(decode(bytes), |envelope| envelope.encode().to_vec(), decode)
    });
    let touches = Target::new("touches", vec![encode_touches(&touches()).to_vec(), Vec::new()], |bytes| {
        let decode = |bytes: &[u8]| decode_touches(bytes).ok();
        round_trip(decode(bytes), |touches| encode_touches(touches).to_vec(), decode)
    });
    let entry = Target::new("log entry", entries(), |bytes| {
        let decode = |bytes: &[u8]| decode_entry(Bytes::copy_from_slice(bytes)).ok();
        round_trip(decode(bytes), |entry| encode_entry(entry).to_vec(), decode)
    });
    let append = Target::new("append", appends(), |bytes| {
        let decode = |bytes: &[u8]| decode_append(Bytes::copy_from_slice(bytes)).ok();
        round_trip(
            decode(bytes).map(Comparable),
            |append| encode_append(&append.0).to_vec(),
            |bytes| decode(bytes).map(Comparable),
        )
    });
    let magic: &[&[u8]] = &[b"LSTP", b"\x01\x01", b"\x00\x00\x00\x01", b"\x02\x00\x00\x00"];
    let lists = [welcome, envelope, touches, entry, append].map(Target::with_lists);
    // A frame begins with a buffer of 64 KiB, if it announces as much.
    let stream = Target { bytes_fixed: 72 * 1024, ..stream };
    [hello, request, reply, stream]
        .into_iter()
        .chain(lists)
        .map(|target| Target { magic, ..target })
        .collect()
}

/// Requests of Raft have no equality of their own.
#[derive(Debug)]
struct Comparable<T>(T);

impl<T: Debug> PartialEq for Comparable<T> {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

/// Reads frames until the stream ends between two, which is well, or is refused.
fn read_frames(runtime: &Runtime, mut bytes: &[u8]) -> Result<bool, String> {
    runtime.block_on(async {
        loop {
            let before = bytes.len();
            match read_frame(&mut bytes).await {
                Ok(Some(content)) if content.len() + 4 == before - bytes.len() => {}
                Ok(Some(content)) => return Err(format!("a frame of {} bytes", content.len())),
                Ok(None) => return Ok(true),
                Err(FrameError::TooLong { .. } | FrameError::Io(_)) => return Ok(false),
                Err(error) => return Err(format!("{error}")),
            }
        }
    })
}

fn snapshot() -> Target {
    let target = Target::new("snapshot", snapshots(), |bytes| {
        let Ok(cache) = Cache::restore(bytes) else { return Ok(false) };
        match encoded(&cache) == bytes {
            true => Ok(true),
            false => Err("it is written in another way".into()),
        }
    });
    // Its reader has a buffer of 256 KiB, tables begin with some room, and a value gets memory by the
    // length that it announces, of at most 1 MiB.
    Target { magic: &[b"LSCACHE\n"], bytes_fixed: 3 * 1024 * 1024, bytes_each: 64, ..target }
}

fn certificate(dir: &Path) -> Target {
    let authority = Authority::new(&dir.join("authority"));
    let names =
        ["n1.node.lockstep.internal", "abcdefghij.client.lockstep.internal", "127.0.0.1", "localhost"];
    let files = authority.issue("certificate", &names, certs::Good::Now);
    let pem = fs::read_to_string(&files.cert).expect("written");
    let der = |pem: &str| {
        use rustls::pki_types::pem::PemObject;
        rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
    };
    let target = Target::new("certificate", vec![der(&pem), der(&authority.pem)], |der| {
        let Ok(found) = Certificate::read(der) else { return Ok(false) };
        let names = found.nodes.iter().chain(&found.client);
        match names.into_iter().find(|name| name.is_empty() || name.contains('*')) {
            Some(name) => Err(format!("it names {name:?}, who is nobody")),
            None => Ok(true),
        }
    });
    let magic: &[&[u8]] =
        &[b"*.node.lockstep.internal", b".client.lockstep.internal", b"\x82\xff\xff", b"\x30\x80"];
    Target { magic, bytes_fixed: 16 * 1024, bytes_each: 64, ..target }
}

/// Join tokens: one that is taken is written as it was read.
fn join_token() -> Target {
    let good = format!("lsj_{}_abcdefghij_{}_", "0a".repeat(32), "s".repeat(42));
    Target::text("join token", &[&good], |text| {
        let Some(token) = JoinTokenText::parse(&TokenText::new(text)) else { return Ok(false) };
        match token.text().reveal() == text {
            true => Ok(true),
            false => Err(format!("it is written as {:?}", token.text().reveal())),
        }
    })
}

/// Certificate signing requests. What is taken has a key, and is signed with it.
fn signing_request() -> Target {
    let key = lockstep::tls::new_key().expect("a key");
    let good = lockstep::tls::signing_request(&key).expect("a request");
    let target = Target::text("signing request", &[&good], |text| match SigningRequest::read(text) {
        Ok(request) if request.key().hex().len() != 64 => Err("its key has no digest".into()),
        read => Ok(read.is_ok()),
    });
    Target { weight: 2, bytes_fixed: 64 * 1024, bytes_each: 64, ..target }
}

/// Files with a certificate, its key and an authority.
fn pem(dir: &Path) -> Target {
    let authority = Authority::new(&dir.join("pem"));
    let good = authority.node("n1");
    let files = CertFiles { cert: dir.join("fuzz.crt"), key: dir.join("fuzz.key"), ca: Some(authority.ca()) };
    let (cert, key) = (fs::read(&good.cert).expect("written"), fs::read(&good.key).expect("written"));
    let both = [&cert[..], &key].concat();
    // A file that others can read would be refused before it is read.
    fs::copy(&good.key, &files.key).expect("written");
    let target = Target::new("PEM", vec![both, [key, cert].concat()], move |bytes| {
        fs::write(&files.cert, bytes).and_then(|()| fs::write(&files.key, bytes)).expect("written");
        let owners = read_owners(&files.cert);
        let Ok(material) = files.read() else { return Ok(false) };
        match owners {
            Ok(owners) if owners.len() == material.chain.len() => Ok(true),
            other => Err(format!("the same file is read as {other:?}")),
        }
    });
    let magic: &[&[u8]] = &[
        b"-----BEGIN CERTIFICATE-----",
        b"-----END CERTIFICATE-----",
        b"-----BEGIN PRIVATE KEY-----",
        b"\n",
        b"=",
    ];
    Target { magic, bytes_fixed: 32 * 1024, bytes_each: 64, ..target }
}
