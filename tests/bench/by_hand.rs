//! A small HTTP server whose every answer a test decides.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const STORED: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// What becomes of a request.
pub enum Reply {
    Text(String),
    /// Sent byte by byte.
    Bytewise(String),
    /// Stored, but all others wait so long with it.
    Stall(Duration),
    HangUp,
}

/// Answers every request as `decide` says for its number, from 0, until the test ends. Returns its URL.
pub fn serve(decide: impl Fn(u64) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let decide = Arc::new(decide);
    let turn = Arc::new((Mutex::new(()), AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (decide, turn) = (decide.clone(), turn.clone());
            std::thread::spawn(move || converse(&stream.unwrap(), &*decide, &turn.0, &turn.1));
        }
    });
    url
}

fn converse(stream: &TcpStream, decide: &dyn Fn(u64) -> Reply, turn: &Mutex<()>, number: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while read_request(&mut reader).is_some() {
        let only_one = turn.lock().unwrap();
        let mut size = usize::MAX;
        let text = match decide(number.fetch_add(1, Ordering::Relaxed)) {
            Reply::Text(text) => text,
            Reply::Bytewise(text) => {
                size = 1;
                text
            }
            Reply::Stall(time) => {
                std::thread::sleep(time);
                STORED.into()
            }
            Reply::HangUp => return,
        };
        drop(only_one);
        if text.as_bytes().chunks(size).any(|piece| writer.write_all(piece).is_err()) {
            return;
        }
    }
}

/// Reads a request with its body; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()
}
