//! The TypeScript package against this server: runs `tests/typescript.sh`, which says in one line why where it cannot.

use std::process::{Command, Stdio};

#[test]
fn the_typescript_package_works_with_this_server() {
    let mut command = Command::new("tests/typescript.sh");
    command.env("LOCKSTEP_BIN", env!("CARGO_BIN_EXE_lockstep"));
    // What it skipped is for whoever runs the tests to see, also when they pass.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
