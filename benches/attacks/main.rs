//! What attacks do to a cluster, and to those who use it meanwhile:
//!
//! `cargo bench --bench attacks [-- --quick] [--only NAME,NAME] [--seconds S]`
//!
//! Each attack meets a fresh cluster of three real processes on this machine; its target is the leader. Meanwhile every node
//! is probed on new connections and one client writes and reads. The attacker is a process of its own with one thread, in a
//! session of its own, at a lower priority (nice 10) than the nodes and the probes, because all share this machine's
//! processors: it stands for one on another machine. The program ends with code 1 when an attack has broken a bar of `judge.rs`.

#[path = "../../tests/support/mod.rs"]
mod support;

mod attack;
mod attacker;
mod by_http;
mod by_peer;
mod judge;
mod observer;
mod run;

use attack::{ATTACKS, Attack};
use attacker::Target;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "attacks", about = "What attacks do to a cluster, and to those who use it meanwhile")]
struct Arguments {
    /// A few seconds an attack, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only these attacks, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = parse_attack)]
    only: Vec<&'static Attack>,
    /// How long each attack lasts
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the nodes keep their data: on a disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    data_dir: PathBuf,
    /// Runs this attack in this process; how the program starts its attackers
    #[arg(long, hide = true, requires = "target", value_parser = parse_attack)]
    attack: Option<&'static Attack>,
    /// Whom
    #[arg(long, hide = true)]
    target: Option<String>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn parse_attack(name: &str) -> Result<&'static Attack, String> {
    let known = || ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    ATTACKS.iter().find(|attack| attack.name == name).ok_or_else(|| format!("expected one of {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let duration = Duration::from_secs(if arguments.quick { 4 } else { arguments.seconds });
    if let (Some(attack), Some(target)) = (arguments.attack, &arguments.target) {
        let target: Target = serde_json::from_str(target).expect("a target");
        attacker::attack(attack, target, duration);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{}", judge::HEAD);
    let mut broken = 0;
    let chosen =
        |attack: &&Attack| arguments.only.is_empty() || arguments.only.iter().any(|a| a.name == attack.name);
    for attack in ATTACKS.iter().filter(chosen) {
        let course = runtime.block_on(run::run(attack, duration, &arguments.data_dir));
        let broke = judge::broken(attack, duration, &course);
        println!("{}", judge::line(attack, &course, &broke));
        broken += usize::from(!broke.is_empty());
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
