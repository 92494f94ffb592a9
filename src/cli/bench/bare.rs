//! `lockstep bare-server`: what `bench` is measured against, to know what HTTP alone costs.

use super::args::BareArgs;
use crate::http::serve_baseline;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Runs the command, until the process ends.
pub async fn bare_server(args: BareArgs) -> Result<()> {
    let address = SocketAddr::new(args.bind, args.port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    println!("bare server ready");
    Ok(serve_baseline(listener).await?)
}
