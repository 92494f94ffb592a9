//! The ports that tests give to their nodes.

use crate::support::free_port;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Set for the children of the test below.
const IN_CHILD: &str = "LOCKSTEP_TEST_PORTS";
const COUNT: usize = 150;

#[test]
fn no_two_processes_have_the_same_port() {
    let ports = || (0..COUNT).map(|_| free_port());
    if std::env::var_os(IN_CHILD).is_some() {
        ports().for_each(|port| println!("port {port}"));
        // Until the other end is closed.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let mut children: Vec<_> = (0..3)
        .map(|_| {
            let mut child = Command::new(std::env::current_exe().expect("this program"));
            child.args(["--exact", "ports::no_two_processes_have_the_same_port", "--nocapture"]);
            child.env(IN_CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child")
        })
        .collect();
    let mut all: BTreeSet<u16> = ports().collect();
    let mut outputs = Vec::new();
    for child in &mut children {
        let mut lines =
            BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let given = lines.by_ref().filter_map(|line| line.rsplit_once("port ")?.1.parse::<u16>().ok());
        given.take(COUNT).for_each(|port| assert!(all.insert(port), "{port} was given out twice"));
        outputs.push(lines);
    }
    assert_eq!(all.len(), 4 * COUNT);
    for (mut child, rest) in children.into_iter().zip(outputs) {
        drop(child.stdin.take());
        rest.for_each(drop);
        assert!(child.wait().expect("it ends").success());
    }
}
