//! What makes no sense is refused with a sentence, before anything is asked of anyone.

use crate::bench;
use crate::support::free_port;

#[test]
fn bad_arguments_are_refused() {
    for (arguments, says) in [
        ("", ""),
        ("sing", "sing"),
        ("put --connections 0", "1..=10000"),
        ("put --connections 10001", "1..=10000"),
        ("put --seconds 0", "more than 0"),
        ("put --seconds -1", ""),
        ("put --seconds inf", "expected seconds"),
        ("put --warm-up soon", "expected seconds"),
        ("put --rate 0", "more than 0"),
        ("put --rate NaN", "more than 0"),
        ("put --keys 0", "1.."),
        ("put --value-bytes 2000001", "2000000"),
        ("put --ttl-ms 0", "1.."),
        ("put --distribution normal", "zipf"),
        ("put --distribution zipf:0", "zipf"),
        ("put --distribution zipf:11", "zipf"),
        ("put --to somebody", "followers"),
        ("mixed --write-percent 101", "0..=100"),
        ("get --consistency maybe", "linearizable"),
        ("batch --batch 0", "1..=1024"),
        ("batch --batch 1025", "1..=1024"),
        ("batch --batch 20 --keys 10", "--keys"),
        ("batch --batch 1000 --value-bytes 10000", "more than a batch may hold"),
        ("put --consistency stale", "--consistency does nothing for put"),
        ("put --batch 2", "--batch does nothing"),
        ("get --write-percent 2", "--write-percent does nothing"),
        ("get --ttl-ms 2", "--ttl-ms does nothing"),
        ("batch --no-fill", "--no-fill does nothing"),
        ("put --pipeline 2", "--pipeline is for --redis"),
        ("put --redis 127.0.0.1:1 --pipeline 0", "1..=1024"),
        ("put --redis 127.0.0.1:1 --pipeline 1024 --value-bytes 100000", "64 MiB"),
        ("batch --redis 127.0.0.1:1 --pipeline 2", "--pipeline does nothing for batch"),
        ("batch --redis 127.0.0.1:1 --ttl-ms 5", "MSET has no TTL"),
        ("put --redis 127.0.0.1:1 --to leader", "name the servers that are meant"),
        ("put --redis http://127.0.0.1:1", "rediss://host:port"),
        ("put --redis redis://user:secret@127.0.0.1:1", "rediss://host:port"),
        ("put --redis redis://127.0.0.1:1/5", "rediss://host:port"),
        ("put --url nonsense", "http://host:port"),
        ("put --url ftp://127.0.0.1:1", "http://host:port"),
        ("put --url http://127.0.0.1:1/below", "http://host:port"),
    ] {
        let (code, _, error) = bench(arguments);
        assert_eq!(code, 2, "{arguments}: {error}");
        assert!(error.contains(says), "{arguments}: {error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let url = format!("http://127.0.0.1:{}", free_port());
    for arguments in ["put", "get --no-fill", "get", "put --to leader"] {
        let (code, _, error) = bench(&format!("{arguments} --url {url} --timeout-ms 300"));
        assert_eq!(code, 5, "{arguments}: unavailable: {error}");
        assert!(error.contains(&url), "{error}");
    }
}
