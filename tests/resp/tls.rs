//! The port with TLS.

use super::certs::Authority;
use super::server::Server;
use lockstep::front::FrontLimits;
use lockstep::tls::{CertFiles, ClientTls, ServerTls};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let files = CertFiles { ca: None, ..authority.node("n1") };
    let tls = ServerTls::open(files).unwrap();
    let server = Server::start_with(FrontLimits::default(), Some(tls), |options| options).await;
    let believed = ClientTls { ca: Some(authority.ca()), own: None }.config().unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(believed))
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    stream.write_all(b"SET k 1\r\nGET k\r\n").await.unwrap();
    let mut told = [0; 12];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"+OK\r\n$1\r\n1\r\n");
    // Whoever does not shake hands is not answered.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET k\r\n").await.unwrap();
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told).await;
    assert!(!told.contains(&b'$'), "{told:?}");
    drop(stream);
    server.run_and_stop(|_| {}).await;
}
