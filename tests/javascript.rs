//! What runs in Node.js: scripts of their own, which say in one line why where they cannot.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, RwLock};

/// What the browser is driven by is fetched once, whatever test is first.
static FETCHING: Mutex<()> = Mutex::new(());
/// Taken by what measures how quick a page is; the others share it.
static QUIET: RwLock<()> = RwLock::new(());

fn succeeds(script: &str, words: &[&str], variables: &[(&str, &str)]) {
    let mut command = Command::new(script);
    command.args(words).env("LOCKSTEP_BIN", env!("CARGO_BIN_EXE_lockstep")).envs(variables.iter().copied());
    // What it skipped is for whoever runs the tests to see, also when they pass.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}");
}

/// Some of the dashboard's cases, on a cluster of their own.
fn dashboard(cases: &[&str], port: &str) {
    let fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    succeeds("tests/browser.sh", &["--list"], &[]);
    drop(fetching);
    succeeds("tests/browser.sh", cases, &[("BROWSER_PORT", port)]);
}

#[test]
fn half_of_the_dashboard_works_in_a_browser() {
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    dashboard(&["--part", "1/2"], "17700");
}

#[test]
fn the_other_half_of_the_dashboard_works_in_a_browser() {
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    dashboard(&["--part", "2/2"], "17720");
}

#[test]
fn the_dashboard_is_quick_in_a_browser() {
    let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    dashboard(&["--measured"], "17740");
}

#[test]
fn the_typescript_package_works_with_this_server() {
    let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    succeeds("tests/typescript.sh", &[], &[]);
}
