//! The journal in a file.

use lockstep::client::sync::{FileStorage, SyncStorage};
use std::io::ErrorKind;

fn lines(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[tokio::test]
async fn a_journal_in_a_file_belongs_to_one_synchronizer_and_survives_replacing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("journal");
    let storage = FileStorage::new(&path);
    storage.append(lines(&["early"])).await.expect_err("it is not loaded");
    assert_eq!(storage.load().await.expect("nothing"), lines(&[]));
    storage.append(lines(&["one", "two"])).await.expect("it is kept");
    storage.replace(lines(&["three"])).await.expect("it is replaced");
    storage.append(lines(&["four"])).await.expect("it is kept");
    let busy = FileStorage::new(&path).load().await.expect_err("it is open");
    assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
    let beside = |ending: &str| path.with_extension(ending);
    std::fs::write(beside("new"), "of a replacement that was not finished").expect("it is written");
    storage.close().await.expect("it closes");
    storage.append(lines(&["late"])).await.expect_err("it is closed");
    let next = FileStorage::new(&path);
    assert_eq!(next.load().await.expect("lines"), lines(&["three", "four"]));
    assert!(!beside("new").exists());
    drop(next);
    // The TypeScript client's process: process 1 is always alive.
    std::fs::write(beside("lock"), "1").expect("it is written");
    let busy = FileStorage::new(&path).load().await.expect_err("it is open");
    assert!(busy.to_string().contains("open in the process 1"), "{busy}");
    for dead in ["999999999", "1\n", ""] {
        std::fs::write(beside("lock"), dead).expect("it is written");
        let after = FileStorage::new(&path);
        assert_eq!(after.load().await.expect("lines").len(), 2, "{dead:?}");
        let owner = std::fs::read_to_string(beside("lock")).expect("the lock");
        assert_eq!(owner, format!("{}\n", std::process::id()));
        after.close().await.expect("it closes");
    }
}

#[tokio::test]
async fn a_line_that_was_not_written_to_its_end_stays_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    std::fs::write(&path, b"whole\nha\xff").expect("it is written");
    let storage = FileStorage::new(&path);
    let read = storage.load().await.expect("lines");
    assert_eq!((read.len(), read[0].as_str()), (2, "whole"));
    storage.append(lines(&["next"])).await.expect("it is kept");
    storage.close().await.expect("it closes");
    let again = storage.load().await.expect("it can be loaded again");
    assert_eq!((again.len(), again[2].as_str()), (3, "next"));
}

#[tokio::test]
async fn values_are_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let storage = FileStorage::new(&path);
    storage.load().await.expect("nothing");
    storage.replace(lines(&["one"])).await.expect("it is replaced");
    storage.set_aside(lines(&["two"])).await.expect("it is kept");
    for file in [path.clone(), path.with_extension("damaged"), path.with_extension("lock")] {
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
