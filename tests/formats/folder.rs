//! A data folder in the repository: each of its files is compressed, because most of them are long and empty.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::path::Path;

/// Compresses a folder into another one.
pub fn pack(from: &Path, into: &Path) {
    fs::create_dir_all(into).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name());
        match path.is_dir() {
            true => pack(&path, &into.join(name)),
            false => pack_file(&path, &into.join(format!("{}.gz", name.to_str().expect("a plain name")))),
        }
    }
}

/// Compresses one file.
pub fn pack_file(from: &Path, into: &Path) {
    let mut packed = GzEncoder::new(File::create(into).expect("a new file"), Compression::best());
    std::io::copy(&mut File::open(from).expect("a file"), &mut packed).expect("it is written");
    packed.finish().expect("it is written");
}

/// Writes the files that [`pack`] compressed.
pub fn unpack(from: &Path, into: &Path) {
    fs::create_dir_all(into).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().expect("a plain name");
        if path.is_dir() {
            unpack(&path, &into.join(name));
            continue;
        }
        let mut packed = GzDecoder::new(File::open(&path).expect("a file"));
        let out = into.join(name.strip_suffix(".gz").expect("all are compressed"));
        std::io::copy(&mut packed, &mut File::create(out).expect("a new file")).expect("it is whole");
    }
}
