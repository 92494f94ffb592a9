//! Writes a history while it happens.

use super::{Header, Operation};
use serde::Serialize;
use std::io::{self, Write};

/// Writes the header at once and each operation as it is pushed, one JSON object a line.
///
/// It does not buffer; give it a [`std::io::BufWriter`] for long histories.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    out: W,
}

impl<W: Write> HistoryWriter<W> {
    /// # Errors
    /// The header can't be written.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        write_line(&mut out, header)?;
        Ok(Self { out })
    }

    /// # Errors
    /// The operation can't be written.
    pub fn push(&mut self, operation: &Operation) -> io::Result<()> {
        write_line(&mut self.out, operation)
    }

    /// Flushes, and gives back what it wrote to.
    ///
    /// # Errors
    /// What was written does not get through.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// In one piece, so that a process that dies leaves at most its last line unfinished.
fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}
