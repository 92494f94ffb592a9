//! Clients in other languages: the dashboard in a real browser, and the TypeScript package. Each is run by a script, which says in one line
//! why where it cannot.

use crate::support::PROGRAM;
use std::process::{Command, Stdio};

#[test]
fn the_dashboard_works_in_a_browser() {
    run("tests/browser.sh");
}

#[test]
fn the_typescript_package_works_with_this_server() {
    run("tests/typescript.sh");
}

fn run(script: &str) {
    let mut command = Command::new(script);
    command.env("LOCKSTEP_BIN", PROGRAM);
    // What it skipped is for whoever runs the tests to see, also when they pass.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
