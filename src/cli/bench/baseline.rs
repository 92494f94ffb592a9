//! `lockstep baseline-server`: what `bench` is measured against, to know what HTTP alone costs.

use super::args::BaselineArgs;
use crate::http::serve_baseline;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Runs the command, until the process ends.
pub async fn baseline_server(args: BaselineArgs) -> Result<()> {
    let address = SocketAddr::new(args.bind, args.port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    println!("baseline server ready");
    Ok(serve_baseline(listener).await?)
}
