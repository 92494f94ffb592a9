//! The log files of the nodes of `lockstep up`.

use std::fs::{self, OpenOptions};
use std::path::Path;

/// Bytes of a node's log file; one older file of that size is kept beside it.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Keeps a log file from filling the disk that the data is on. Nodes append to it, so they go on at its new end.
pub(super) fn bound_log(log: &Path) {
    if fs::metadata(log).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        // Lines written between the two steps are lost, which is acceptable for a log.
        let emptied = fs::copy(log, log.with_extension("log.1"))
            .and_then(|_| OpenOptions::new().write(true).open(log).and_then(|file| file.set_len(0)));
        if let Err(error) = emptied {
            tracing::warn!(%error, log = %log.display(), "cannot shorten a log file");
        }
    }
}

/// The last lines of a log, out of what was written since `start`.
pub(super) fn tail(path: &Path, start: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.get(start..).unwrap_or(&text).lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_file_has_a_bound_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("n1.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        writer.write_all(b"short").unwrap();
        bound_log(&log);
        assert_eq!(fs::read(&log).unwrap(), b"short");
        writer.write_all(&vec![b'x'; LOG_BYTES_MAX as usize]).unwrap();
        bound_log(&log);
        writer.write_all(b"after").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"after");
        assert_eq!(fs::metadata(log.with_extension("log.1")).unwrap().len(), LOG_BYTES_MAX + 5);
    }
}
