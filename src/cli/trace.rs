//! Access traces: `.xz` of big-endian 32-bit keys, or text with one key a line, packed or not.

use crate::cache::Key;
use anyhow::{Context, Result, bail};
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Largest trace, in bytes once unpacked.
const TRACE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The keys of a trace, in order.
///
/// # Errors
/// The file can't be read, or is no trace; the message names the place.
pub fn read(path: &Path) -> Result<Vec<Key>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let is_xz = path.extension().is_some_and(|extension| extension == "xz");
    let mut bytes = Vec::new();
    let reader: Box<dyn Read> = if is_xz {
        Box::new(XzReader::new(BufReader::new(file), true))
    } else {
        Box::new(BufReader::new(file))
    };
    let read = reader.take(TRACE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("{shown} is damaged or no {} file", if is_xz { "xz" } else { "readable" }))?;
    if bytes.len() as u64 > TRACE_BYTES_MAX {
        bail!("{shown} holds more than {TRACE_BYTES_MAX} bytes");
    }
    let keys = if is_xz && !is_text(&bytes) { numbers(&bytes) } else { lines(&bytes) };
    let keys = keys.with_context(|| format!("{shown} is no trace"))?;
    if keys.is_empty() {
        bail!("{shown} holds no keys");
    }
    Ok(keys)
}

/// Packed text is text still. Keys as numbers are none: all but the largest begin with a zero byte.
fn is_text(bytes: &[u8]) -> bool {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_plain))
}

fn numbers(bytes: &[u8]) -> Result<Vec<Key>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        bail!("its {} bytes are no whole number of 32-bit keys", bytes.len());
    }
    numbers.iter().map(|number| Ok(Key::new(&u32::from_be_bytes(*number).to_string())?)).collect()
}

fn lines(bytes: &[u8]) -> Result<Vec<Key>> {
    let text = std::str::from_utf8(bytes).context("it is not UTF-8")?;
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    numbered.map(|(number, line)| Key::new(line).with_context(|| format!("line {}", number + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(name: &str, bytes: &[u8]) -> Result<Vec<Key>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut writer =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn reads_both_formats() {
        let text: Vec<String> =
            trace("t.txt", b"a\nb\n\na\n").unwrap().into_iter().map(String::from).collect();
        assert_eq!(text, ["a", "b", "a"]);
        let xz = trace("t.xz", &packed(&[0, 0, 0, 7, 0, 0, 1, 0])).unwrap();
        assert_eq!(xz.into_iter().map(String::from).collect::<Vec<_>>(), ["7", "256"]);
        let packed_text = trace("t.txt.xz", &packed(b"aaaa\nbbb\naaaa\nbbbb\n")).unwrap();
        assert_eq!(
            packed_text.into_iter().map(String::from).collect::<Vec<_>>(),
            ["aaaa", "bbb", "aaaa", "bbbb"]
        );
    }

    #[test]
    fn a_damaged_or_foreign_file_is_refused_with_the_place() {
        let whole = packed(&[1; 400]);
        for cut in 0..whole.len() {
            assert!(trace("t.xz", &whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(format!("{:#}", trace("t.xz", &packed(&[1; 5])).unwrap_err()).contains("32-bit"));
        assert!(format!("{:#}", trace("t.txt", b"ok\n\x01\n").unwrap_err()).contains("line 2"));
        assert!(trace("t.txt", b"").is_err());
    }
}
