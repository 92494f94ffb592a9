//! Whatever loses in a merge is written down first.

use crate::reconcile::{Sides, apart};
use crate::support::run;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a step makes lose is in the file when the step is sent, not only when it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn losers_are_written_before_the_step_that_makes_them_lose() {
    let Sides { cluster, restored } = apart().await;
    let old = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    let plan = cluster.dir.path().join("plan");
    let file = plan.to_str().unwrap().to_owned();
    let (code, _, error) =
        run(&["reconcile", "plan", "--from", &old, "--out", &file, "--url", &restored.http]);
    assert_eq!(code, 0, "{error}");
    let losers = PathBuf::from(format!("{file}.losers.jsonl"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let node = restored.http.trim_start_matches("http://").to_owned();
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let noted = seen.clone();
    let proxying = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&node).await.unwrap();
            let (noted, losers) = (noted.clone(), losers.clone());
            tokio::spawn(async move {
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    if bytes[..length].starts_with(b"POST /v1/reconcile ") {
                        let lines = std::fs::read_to_string(&losers).unwrap_or_default().lines().count();
                        noted.lock().unwrap().push(lines);
                    }
                    to_server.write_all(&bytes[..length]).await.unwrap();
                }
            });
        }
    });
    let applied = tokio::task::spawn_blocking(move || run(&["reconcile", "apply", &file, "--url", &proxy]));
    let (code, text, error) = applied.await.unwrap();
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(*seen.lock().unwrap(), [2], "two keys are conflicts, and one step is sent");
    proxying.abort();
}
