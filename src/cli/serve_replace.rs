//! What `serve` does when this node's data folder is lost: its setting.

use super::common_args::parse_interval;
use super::exit::Usage;
use crate::api::REPLACE_SILENT_MS_MIN;
use crate::node::ReplaceLost;
use crate::tls::PeerTls;
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct ServeReplaceArgs {
    /// If this node's data folder is empty and a member of the cluster has its name: wait until an operator runs `lockstep
    /// member replace` (by-hand), or until the leader has not heard from that member for a time such as 10m, at least 30s. Then
    /// join in its place [default: refuse to start]
    #[arg(long, env = "LOCKSTEP_REPLACE_LOST", value_name = "by-hand|TIME", value_parser = parse)]
    pub replace_lost: Option<ReplaceLost>,
}

impl ServeReplaceArgs {
    /// Whether the node has a name by which it can be found again.
    pub(super) fn checked(
        &self,
        name: Option<&str>,
        peers: Option<&PeerTls>,
    ) -> Result<Option<ReplaceLost>, Usage> {
        let has_name = name.is_some() || peers.is_some_and(|tls| tls.own_certificate().nodes.len() == 1);
        match self.replace_lost {
            Some(_) if !has_name => Err(Usage(
                "--replace-lost needs --name, or a certificate for peers that names this node".into(),
            )),
            replace_lost => Ok(replace_lost),
        }
    }
}

fn parse(text: &str) -> Result<ReplaceLost, String> {
    let shortest = Duration::from_millis(REPLACE_SILENT_MS_MIN);
    match text {
        "by-hand" => Ok(ReplaceLost::ByHand),
        _ => match parse_interval(text) {
            Ok(silent) if silent >= shortest => Ok(ReplaceLost::After(silent)),
            Ok(_) => Err(format!(
                "expected at least {} s: a node that restarts is silent for a while, and must not be replaced",
                shortest.as_secs()
            )),
            Err(_) => Err("expected by-hand, or a time such as 10m".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_longer_than_a_restart() {
        assert_eq!(parse("by-hand"), Ok(ReplaceLost::ByHand));
        assert_eq!(parse("10m"), Ok(ReplaceLost::After(Duration::from_secs(600))));
        assert_eq!(parse("30s"), Ok(ReplaceLost::After(Duration::from_secs(30))));
        assert!(parse("29s").is_err_and(|error| error.contains("at least 30 s")));
        for wrong in ["", "always", "10", "by_hand"] {
            assert!(parse(wrong).is_err_and(|error| error.contains("by-hand")), "{wrong}");
        }
    }

    #[test]
    fn a_node_without_a_name_cannot_be_found_again() {
        let given = ServeReplaceArgs { replace_lost: Some(ReplaceLost::ByHand) };
        assert!(given.checked(None, None).is_err());
        assert_eq!(given.checked(Some("n1"), None).ok(), Some(Some(ReplaceLost::ByHand)));
        assert_eq!(ServeReplaceArgs { replace_lost: None }.checked(None, None).ok(), Some(None));
    }
}
