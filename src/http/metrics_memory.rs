//! The part of `/metrics` about memory: what holds how much of it. The parts add up to about what the process has resident.

use crate::front::Front;
use crate::node::{MemoryPart, ProcessMemory};
use std::fmt::{Result, Write};

/// Writes every part. `parts` is what the node holds.
pub(super) fn write_memory(out: &mut String, front: &Front, mut parts: Vec<MemoryPart>) -> Result {
    let mut add = |name, bytes| parts.push(MemoryPart { name, bytes });
    add("request_bodies", front.body_memory.used() as u64);
    add("answers", front.answer_memory.used() as u64);
    add("base", front.base_memory());
    if let Some(memory) = ProcessMemory::now() {
        add("program", memory.files);
    }
    let name = "lockstep_memory_bytes";
    writeln!(
        out,
        "# HELP {name} Memory by what holds it. base: what the process had allocated at its start beyond the other parts.\n\
         # TYPE {name} gauge"
    )?;
    parts.iter().try_for_each(|part| writeln!(out, "{name}{{part=\"{}\"}} {}", part.name, part.bytes))
}
