//! The dashboard in a real browser: runs `tests/browser.sh`, which says in one line why where it cannot.

use std::process::{Command, Stdio};

#[test]
fn the_dashboard_works_in_a_browser() {
    let mut command = Command::new("tests/browser.sh");
    command.env("LOCKSTEP_BIN", env!("CARGO_BIN_EXE_lockstep"));
    // What it skipped is for whoever runs the tests to see, also when they pass.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
