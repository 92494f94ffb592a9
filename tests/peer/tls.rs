//! Both sides of a connection between nodes show who they are. Every wrong certificate is refused, on both sides, and a listener
//! that was called wrongly serves the next caller well.

use super::certs::{Authority, Good};
use super::*;
use lockstep::peer::{Listener, PeerError};
use lockstep::tls::{CertFiles, PeerTls, Reload, client_host, node_host};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

struct Place {
    dir: TempDir,
    authority: Authority,
    served: Served,
    server_tls: PeerTls,
}

/// A server that is node `server`, and knows member 2 as `caller`.
async fn place() -> Place {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(&dir.path().join("a"));
    let server_tls = PeerTls::open(authority.node("server")).expect("good files");
    let tls = server_tls.clone();
    let served = serve_on(1, |listener| Listener::tcp(listener, Some(tls))).await;
    Place { dir, authority, served, server_tls }
}

fn caller(place: &Place, tls: &PeerTls, from: NodeId, name: &str) -> PeerClient {
    let remote = Remote { id: SERVER, name: name.into(), address: place.served.address.clone() };
    let net = Net::Tls(tls.clone());
    PeerClient::new(identity(from), remote, Lane::Control, net, Links::default(), RoundTrips::default())
}

/// Calls with these files, as this node. Returns whether it was let in, or why not.
async fn call(place: &mut Place, files: CertFiles, from: NodeId) -> Result<(), PeerError> {
    let tls = PeerTls::open(files).expect("files that can be used");
    call_with(place, &tls, from, "server").await
}

async fn call_with(place: &mut Place, tls: &PeerTls, from: NodeId, name: &str) -> Result<(), PeerError> {
    let client = caller(place, tls, from, name);
    let asking = tokio::spawn(async move { client.call(Method::Clock, Bytes::from("?"), PLENTY).await });
    tokio::pin!(asking);
    let answer = tokio::select! {
        answer = &mut asking => answer,
        call = place.served.next_call() => {
            call.answer.send(Ok(Bytes::from("now"))).expect("the server waits");
            asking.await
        }
    };
    answer.expect("no panic").map(drop)
}

#[tokio::test]
async fn who_is_who_they_say_is_let_in() {
    let mut place = place().await;
    let good = place.authority.node("caller");
    assert_eq!(call(&mut place, good, CALLER).await, Ok(()));
    // A node that this one does not know yet may be any node of the authority.
    let new = place.authority.node("newcomer");
    assert_eq!(call(&mut place, new, 77).await, Ok(()));
    // While a node gets another name, its certificate has both.
    let both = [node_host("renamed"), node_host("caller")];
    let both = place.authority.issue("both", &[&both[0], &both[1]], Good::Now);
    assert_eq!(call(&mut place, both, CALLER).await, Ok(()));
    let below = place.authority.below().issue("below", &[&node_host("caller")], Good::Now);
    assert_eq!(call(&mut place, below, CALLER).await, Ok(()), "an authority in between");
}

#[tokio::test]
async fn who_is_somebody_else_is_refused() {
    let mut place = place().await;
    let other_authority = Authority::new(&place.dir.path().join("b"));
    let mut stranger = other_authority.node("caller");
    stranger.ca = Some(place.authority.ca());
    let authority = &place.authority;
    let not_of_caller = [
        ("of an authority that is not believed", stranger),
        ("of another node", authority.node("third")),
        ("of a client", authority.issue("c", &[&client_host("caller")], Good::Now)),
        ("of a host", authority.issue("h", &["caller", "127.0.0.1"], Good::Now)),
        ("of everybody", authority.issue("w", &[&node_host("*")], Good::Now)),
        ("of nobody", authority.issue("e", &[], Good::Now)),
        ("expired", authority.issue("x", &[&node_host("caller")], Good::Earlier)),
        ("not yet good", authority.issue("y", &[&node_host("caller")], Good::Later)),
    ];
    for (which, files) in not_of_caller {
        let refused = call(&mut place, files, CALLER).await.expect_err(which);
        assert!(matches!(refused, PeerError::Unreachable(_) | PeerError::Refused(_)), "{which}: {refused}");
        let good = place.authority.node("caller");
        assert_eq!(call(&mut place, good, CALLER).await, Ok(()), "after one {which}");
    }
}

/// A node that dials checks whom it has reached.
#[tokio::test]
async fn a_server_that_is_another_node_is_not_talked_to() {
    let mut place = place().await;
    let tls = PeerTls::open(place.authority.node("caller")).expect("good files");
    for name in ["n7", "", "not a name", "server.node"] {
        let refused = call_with(&mut place, &tls, CALLER, name).await.expect_err(name);
        assert!(matches!(&refused, PeerError::Unreachable(_)), "{name}: {refused}");
    }
    let believes_another = Authority::new(&place.dir.path().join("b"));
    let mut files = place.authority.node("caller");
    files.ca = Some(believes_another.ca());
    call(&mut place, files, CALLER).await.expect_err("the server's authority is not believed");
}

#[tokio::test]
async fn what_is_not_this_protocol_is_refused_in_time() {
    let mut place = place().await;
    let address = place.served.address.clone();
    // Frames as a node without TLS sends them.
    let plain = super::client(&address, Lane::Control).call(Method::Clock, Bytes::new(), PLENTY).await;
    assert!(matches!(plain, Err(PeerError::Unreachable(_))), "{plain:?}");
    // TLS without a certificate, and an older TLS with one.
    let roots = || {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(place.authority.pem.as_bytes()).expect("PEM");
        roots.add(ca).expect("a certificate");
        roots
    };
    let ring = || Arc::new(rustls::crypto::ring::default_provider());
    let (files, builder) =
        (place.authority.node("caller"), rustls::ClientConfig::builder_with_provider(ring()));
    let (cert, key) = (CertificateDer::from_pem_file(&files.cert), PrivateKeyDer::from_pem_file(&files.key));
    let older = builder.with_protocol_versions(&[&rustls::version::TLS12]).expect("ring has it");
    let older = older.with_root_certificates(roots());
    let older = older.with_client_auth_cert(vec![cert.expect("PEM")], key.expect("PEM")).expect("they fit");
    let builder = rustls::ClientConfig::builder_with_provider(ring());
    let nobody = builder.with_safe_default_protocol_versions().expect("ring has them");
    let nobody = nobody.with_root_certificates(roots()).with_no_client_auth();
    for config in [older, nobody] {
        let stream = TcpStream::connect(&address).await.expect("it listens");
        let host = ServerName::try_from(node_host("server")).expect("a name");
        let connected = TlsConnector::from(Arc::new(config)).connect(host, stream).await;
        // With TLS 1.3 the client hears of the refusal only when it reads.
        if let Ok(mut stream) = connected {
            let _ = stream.write_all(b"hello").await;
            let read = stream.read(&mut [0; 64]).await;
            assert!(matches!(read, Err(_) | Ok(0)), "{read:?}");
        }
    }
    // One that says nothing is closed after the time of a handshake.
    let mut silent = TcpStream::connect(&address).await.expect("it listens");
    let begun = tokio::time::Instant::now();
    let read = tokio::time::timeout(PLENTY, silent.read(&mut [0])).await.expect("in time");
    assert!(matches!(read, Err(_) | Ok(0)) && begun.elapsed() >= Duration::from_secs(2), "{read:?}");
    let good = place.authority.node("caller");
    assert_eq!(call(&mut place, good, CALLER).await, Ok(()));
}

/// A whole authority is replaced: first both are believed, then everybody has a certificate of the new one, then the old one is
/// not believed any more. Files that cannot be used change nothing.
#[tokio::test]
async fn files_that_change_are_used_and_broken_ones_are_not() {
    let mut place = place().await;
    let new = Authority::new(&place.dir.path().join("b"));
    let old_ca = place.authority.ca();
    let server = CertFiles {
        cert: place.dir.path().join("a/server.crt"),
        key: place.dir.path().join("a/server.key"),
        ca: Some(old_ca.clone()),
    };
    let caller_old = PeerTls::open(place.authority.node("caller")).expect("good files");
    let mut caller_new = new.node("caller");
    caller_new.ca = Some(place.dir.path().join("both.crt"));
    fs::write(place.dir.path().join("both.crt"), format!("{}{}", place.authority.pem, new.pem))
        .expect("written");
    call(&mut place, caller_new.clone(), CALLER).await.expect_err("only the old one is believed");
    assert_eq!(place.server_tls.reload(), Ok(false));

    let whole = fs::read(&old_ca).expect("a file");
    for broken in [
        &whole[..whole.len() / 2],
        b"",
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&old_ca, broken).expect("written");
        place.server_tls.reload().expect_err("it cannot be used");
        assert_eq!(call_with(&mut place, &caller_old, CALLER, "server").await, Ok(()));
    }
    // A key of another certificate, as between the two steps of a renewal.
    fs::write(&old_ca, format!("{}{}", place.authority.pem, new.pem)).expect("written");
    let key = fs::read(&server.key).expect("a file");
    let theirs = new.node("server");
    fs::copy(&theirs.key, &server.key).expect("copied");
    place.server_tls.reload().expect_err("the key does not fit");
    fs::write(&server.key, key).expect("written");

    assert_eq!(place.server_tls.reload(), Ok(true), "both are believed");
    assert_eq!(call_with(&mut place, &caller_old, CALLER, "server").await, Ok(()));
    assert_eq!(call(&mut place, caller_new.clone(), CALLER).await, Ok(()));
    fs::copy(&theirs.cert, &server.cert).expect("copied");
    fs::copy(&theirs.key, &server.key).expect("copied");
    assert_eq!(place.server_tls.reload(), Ok(true), "it has a certificate of the new one");
    assert_eq!(call(&mut place, caller_new.clone(), CALLER).await, Ok(()));
    fs::write(&old_ca, &new.pem).expect("written");
    assert_eq!(place.server_tls.reload(), Ok(true), "the old one is not believed any more");
    call_with(&mut place, &caller_old, CALLER, "server").await.expect_err("it is of the old one");
    assert_eq!(call(&mut place, caller_new, CALLER).await, Ok(()));
}

/// A key that others can read is no secret.
#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let files = Authority::new(dir.path()).node("n1");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o604)).expect("set");
    let refused = PeerTls::open(files).expect_err("others can read it");
    assert!(refused.contains("others can read"), "{refused}");
}
