//! Streams of Redis clients, before and after they have said who they are: however they are cut, they say the same.

use crate::targets::Target;
use lockstep::resp::parsers::stream;

/// Both targets.
pub fn redis() -> Vec<Target> {
    let samples: [&[u8]; 9] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*7\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nPX\r\n$4\r\n1000\r\n$2\r\nNX\r\n$3\r\nGET\r\n",
        b"*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n",
        b"SET k \"a \\x41\\n\" EX 10\r\nGET 'k'\nPING\r\n\r\n",
        b"*5\r\n$6\r\nEXPIRE\r\n$1\r\nk\r\n$2\r\n10\r\n$2\r\nXX\r\n$2\r\nLT\r\n",
        b"*5\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n",
        b"*4\r\n$4\r\nCOPY\r\n$1\r\na\r\n$1\r\nb\r\n$7\r\nREPLACE\r\n*0\r\n*-1\r\n",
        b"*6\r\n$6\r\nMSETEX\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$1\r\n9\r\n",
        b"PING\r\n*1\r\n$100000\r\nxxxxxxxx",
    ];
    [("redis", false), ("redis-stranger", true)]
        .into_iter()
        .map(|(name, is_stranger)| {
            let samples = samples.iter().map(|sample| sample.to_vec()).collect();
            let target = Target::new(name, samples, move |bytes| {
                let whole = stream(bytes, bytes.len(), is_stranger);
                // A piece of one byte takes long for what is long.
                for piece in [1 + bytes.len() / 100, 7] {
                    let cut = stream(bytes, piece, is_stranger);
                    if cut != whole {
                        return Err(format!("in pieces of {piece} it says {cut:?}, and not {whole:?}"));
                    }
                }
                Ok(!whole.is_empty())
            });
            // What it is told of, as text, twice.
            Target { bytes_fixed: 256 * 1024, bytes_each: 512, ..target }
        })
        .collect()
}
