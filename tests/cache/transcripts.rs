//! Runs `transcripts/*.txt`: what is done, a line `----`, all that can be seen, an empty line. Lines starting
//! with `#` tell the story. `REWRITE_TRANSCRIPTS=1` writes what happens now into the files: commit such a
//! change only if you can say why every line of it is right.

use crate::script::Script;
use crate::{check_accounts, restored};
use std::path::{Path, PathBuf};

const LINE: &str = "----";

/// The stories' files, in order.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cache/transcripts");
    let entries = std::fs::read_dir(folder).expect("the folder of transcripts");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The text as it would be if everything in it were true. `before_step` may change the cache's body, not its mind.
fn play(text: &str, before_step: impl Fn(&mut Script)) -> String {
    let mut script = Script::new();
    let mut blocks = Vec::new();
    for block in text.trim_end().split("\n\n") {
        let told: Vec<&str> = block.lines().take_while(|line| *line != LINE).collect();
        let done: Vec<&str> = told.iter().copied().filter(|line| !line.starts_with('#')).collect();
        if done.is_empty() {
            blocks.push(told.join("\n"));
            continue;
        }
        before_step(&mut script);
        let seen = script.run(&done);
        check_accounts(&script.cache);
        assert_eq!(script.cache.digest(), restored(&script.cache).digest());
        blocks.push(format!("{}\n{LINE}\n{}", told.join("\n"), seen.trim_end()));
    }
    blocks.join("\n\n") + "\n"
}

fn check_all(before_step: impl Fn(&mut Script)) {
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("a transcript");
        let played = play(&text, &before_step);
        if std::env::var_os("REWRITE_TRANSCRIPTS").is_some() {
            std::fs::write(&file, &played).expect("a transcript that can be written");
        } else {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let difference = text.lines().zip(played.lines()).find(|(told, seen)| told != seen);
            assert!(text == played, "{name}: first difference (told, seen): {difference:#?}");
        }
    }
}

/// C2, C3, C4, C5, C6, C8: see the transcripts.
#[test]
fn transcripts_are_true() {
    check_all(|_| {});
}

/// C7 snapshot_round_trips_everything; C2 log_clock_never_goes_back, also across a snapshot: the same stories
/// with a snapshot and a restore between all steps.
#[test]
fn transcripts_are_true_across_snapshots() {
    // Two who write the same files at once would cut each other's short.
    if std::env::var_os("REWRITE_TRANSCRIPTS").is_none() {
        check_all(|script| script.cache = restored(&script.cache));
    }
}
