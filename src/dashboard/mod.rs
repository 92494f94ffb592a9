//! The dashboard's files, as `npm run build` in `ui/` left them in `dist/`. They are part of the program, so that
//! it needs no folder beside it, and in git, so that building it needs neither npm nor a network.

use rust_embed::RustEmbed;
use std::borrow::Cow;
use std::fmt::Write;

#[derive(RustEmbed)]
#[folder = "src/dashboard/dist/"]
struct Dist;

/// The page that every view begins with.
pub const INDEX: &str = "index.html";

/// A file of the dashboard.
pub struct File {
    pub bytes: Cow<'static, [u8]>,
    pub content_type: &'static str,
    /// Differs between any two contents.
    pub hash: String,
}

/// The file at a path below `dist/`, with slashes.
pub fn file(path: &str) -> Option<File> {
    let found = Dist::get(path)?;
    let mut hash = String::new();
    for byte in &found.metadata.sha256_hash()[..16] {
        // Writing into a string does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    Some(File { bytes: found.data, content_type: content_type(path), hash })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// What the whole page may weigh on its way.
    const GZIPPED_MAX: usize = 150 * 1024;

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let index = file(INDEX).expect("the page");
        let page = std::str::from_utf8(&index.bytes).expect("UTF-8");
        let named: Vec<&str> = page.split(['"', '\'']).filter_map(|word| word.strip_prefix('/')).collect();
        let assets: Vec<&str> = named.into_iter().filter(|path| path.starts_with("assets/")).collect();
        for extension in [".js", ".css", ".svg"] {
            assert!(assets.iter().any(|path| path.ends_with(extension)), "a {extension} in {assets:?}");
        }
        for path in assets {
            let asset = file(path).unwrap_or_else(|| panic!("{path} is named and not there"));
            assert!(!asset.bytes.is_empty(), "{path}");
            assert_ne!(asset.content_type, "application/octet-stream", "{path}");
        }
    }

    #[test]
    fn nothing_in_the_page_needs_more_than_the_policy_allows() {
        let index = file(INDEX).expect("the page");
        let page = std::str::from_utf8(&index.bytes).expect("UTF-8");
        for part in page.split("<script").skip(1) {
            assert!(part.split('>').next().is_some_and(|tag| tag.contains(" src=\"/")), "inline: {part}");
        }
        assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
    }

    #[test]
    fn the_page_stays_light() {
        let weigh = |path: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&file(path).expect("it is listed").bytes).expect("memory");
            encoder.finish().expect("memory").len()
        };
        let total: usize = Dist::iter().map(|path| weigh(&path)).sum();
        assert!(total < GZIPPED_MAX, "{total} bytes gzipped, less than {GZIPPED_MAX} are fine");
        assert!(total > 10_000, "{total} bytes are no page");
    }

    #[test]
    fn what_is_not_there_is_not_there() {
        for path in ["", "nothing.js", "../mod.rs", "assets/../../mod.rs", "/index.html"] {
            assert!(file(path).is_none(), "{path}");
        }
    }
}
