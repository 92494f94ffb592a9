//! Inputs that are nearly valid: samples, changed a few times.

use fastrand::Rng;

/// Changes of a sample, at most.
const CHANGES_MAX: usize = 4;
/// Most bytes that are repeated or copied at a time, and how often.
const PIECE_BYTES_MAX: usize = 64;
const REPEATS_MAX: usize = 40;

/// Bytes at which parsers have their limits.
const BYTES: [u8; 16] =
    [0, 1, 0x09, 0x0a, 0x0d, 0x20, b'"', b'%', b'*', b'.', b':', 0x7e, 0x7f, 0x80, 0xfe, 0xff];

/// Pieces that many formats give a meaning, and numbers at the edges of theirs: fixed and of variable length.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"..",
    b"::",
    b"://",
    b"%00",
    b"%",
    b"@",
    b";",
    b"=",
    b"\xc3\xa4",
    b"\xf4\x8f\xbf\xbf",
    b"\xed\xa0\x80",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
];

/// One of the samples, changed up to [`CHANGES_MAX`] times. `magic` has pieces of the format.
pub fn input(rng: &mut Rng, samples: &[Vec<u8>], magic: &[&[u8]]) -> Vec<u8> {
    let mut bytes = rng.choice(samples).expect("a sample").clone();
    for _ in 0..rng.usize(0..=CHANGES_MAX) {
        change(rng, &mut bytes, samples, magic);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, samples: &[Vec<u8>], magic: &[&[u8]]) {
    let at = rng.usize(0..=bytes.len());
    let end = (at + rng.usize(0..=PIECE_BYTES_MAX)).min(bytes.len());
    match rng.u8(0..10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
        1 if at < bytes.len() => bytes[at] = *rng.choice(&BYTES).expect("a byte"),
        2 if at < bytes.len() => bytes[at] = rng.u8(..),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].repeat(rng.usize(1..=REPEATS_MAX));
            bytes.splice(end..end, piece);
        }
        // The beginning of this one, and the end of a different one.
        6 => {
            let other = rng.choice(samples).expect("a sample");
            bytes.truncate(at);
            bytes.extend_from_slice(&other[rng.usize(0..=other.len())..]);
        }
        7 => {
            let piece = rng.choice(&PIECES).expect("a piece");
            bytes.splice(at..at, piece.iter().copied());
        }
        8 if !magic.is_empty() => {
            let piece = rng.choice(magic).expect("a piece");
            bytes.splice(at..at, piece.iter().copied());
        }
        // In place of what was there, so that all other lengths stay right.
        _ => {
            let piece = rng.choice(&PIECES).expect("a piece");
            for (byte, new) in bytes[at..].iter_mut().zip(*piece) {
                *byte = *new;
            }
        }
    }
}
