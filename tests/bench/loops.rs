//! What is counted, and from when, shown with servers that stall, refuse and hang up.

use crate::by_hand::{Reply, STORED, serve};
use crate::{bench, number};
use std::time::Duration;

const STALL: Duration = Duration::from_millis(500);

fn stored() -> Reply {
    Reply::Text(STORED.into())
}

#[test]
fn a_fixed_rate_is_kept() {
    let url = serve(|_| stored());
    let (code, report, error) =
        bench(&format!("put --url {url} --connections 4 --rate 200 --seconds 2 --warm-up 0.2"));
    assert_eq!(code, 0, "{error}");
    let requests = number(&report, "requests");
    assert_eq!(requests + number(&report, "behind"), 400, "so many are due: {report}");
    assert!(requests > 300, "{report}");
    assert_eq!((number(&report, "errors"), report["rate"].as_f64()), (0, Some(200.0)));
    let per_s = report["requests_per_s"].as_f64().unwrap();
    assert!(per_s <= 201.0, "{report}");
}

/// A server that stands still for half a second, once. At a fixed rate a quarter of the requests are due in
/// that time: they all have to wait, and their latencies say so. A closed loop asks nothing meanwhile, so a
/// single latency tells of it. That is the difference which a fixed rate is for.
#[test]
fn a_stall_is_seen_by_every_request_that_was_due() {
    let stalls_once = || serve(|request| if request == 100 { Reply::Stall(STALL) } else { stored() });
    let (code, open, error) =
        bench(&format!("put --url {} --connections 4 --rate 200 --seconds 2 --warm-up 0", stalls_once()));
    assert_eq!(code, 0, "{error}");
    assert_eq!(number(&open, "requests") + number(&open, "behind"), 400, "{open}");
    assert!(number(&open["latency_us"], "p90") > 200_000, "one in ten waited long: {open}");
    assert!(number(&open["latency_us"], "p99") > 400_000, "one in a hundred all the time: {open}");
    assert!(number(&open["latency_us"], "max") >= 500_000, "{open}");

    let (code, closed, error) =
        bench(&format!("put --url {} --connections 1 --seconds 1.5 --warm-up 0", stalls_once()));
    assert_eq!(code, 0, "{error}");
    assert!(number(&closed, "requests") > 200, "{closed}");
    assert!(number(&closed["latency_us"], "p99") < 200_000, "not even one in a hundred: {closed}");
    assert!(number(&closed["latency_us"], "max") >= 500_000, "{closed}");
    assert_eq!(number(&closed, "behind"), 0);
}

/// What was due and never sent is told: of 1,000 requests a server takes two.
#[test]
fn requests_that_were_not_sent_are_told() {
    let url = serve(|_| Reply::Stall(STALL));
    let (code, report, error) =
        bench(&format!("put --url {url} --connections 1 --rate 1000 --seconds 1 --warm-up 0"));
    assert_eq!(code, 0, "{error}");
    assert_eq!(number(&report, "requests") + number(&report, "behind"), 1_000, "{report}");
    assert!(number(&report, "requests") <= 3, "{report}");
}

#[test]
fn refusals_are_counted_by_code() {
    let problem = r#"{"type":"urn:lockstep:error:busy","title":"busy","status":429,"detail":"later","code":"busy","effect":"none"}"#;
    let refusal = |status: &str, body: &str| {
        Reply::Text(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let url = serve(move |request| match request % 10 {
        0 => refusal("429 Too Many Requests", problem),
        1 => refusal("500 Internal Server Error", "oh"),
        _ => stored(),
    });
    let (code, report, error) = bench(&format!("put --url {url} --connections 2 --seconds 0.3 --warm-up 0"));
    assert_eq!(code, 0, "{error}");
    let errors = &report["errors_by_code"];
    let (busy, other) = (number(errors, "busy"), number(errors, "status_500"));
    assert!(busy > 0 && other > 0, "{report}");
    assert_eq!((number(&report, "errors"), errors.as_object().unwrap().len()), (busy + other, 2));
    let answered = number(&report, "requests");
    // Eight in ten, give or take where the run ends.
    assert!(answered.abs_diff(4 * (busy + other)) <= 20, "{report}");

    let url = serve(move |_| refusal("429 Too Many Requests", problem));
    let (code, report, error) = bench(&format!("put --url {url} --connections 1 --seconds 0.2 --warm-up 0"));
    assert_eq!((code, number(&report, "requests")), (1, 0), "{report}");
    assert!(error.contains("every request failed") && error.contains("busy"), "{error}");
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let url = serve(|request| if request % 10 == 9 { Reply::HangUp } else { stored() });
    let (code, report, error) = bench(&format!("put --url {url} --connections 2 --seconds 0.5 --warm-up 0"));
    assert_eq!(code, 0, "{error}");
    let broken = number(&report["errors_by_code"], "transport");
    assert!(broken > 1 && number(&report, "errors") == broken, "{report}");
    assert!(number(&report, "requests") >= 8 * broken, "{report}");
}

/// A read of what is not there is an answer like another, and is told.
#[test]
fn misses_are_no_errors() {
    let url = serve(|_| Reply::Text("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()));
    let (code, report, error) =
        bench(&format!("get --no-fill --url {url} --connections 1 --seconds 0.2 --warm-up 0"));
    assert_eq!(code, 0, "{error}");
    assert_eq!((number(&report, "errors"), &report["misses"]), (0, &report["requests"]), "{report}");
}

/// Answers that arrive in pieces, that are large, and that end their connection are answers like others.
#[test]
fn answers_come_in_many_ways() {
    let whole = |extra: &str, bytes: usize| {
        format!("HTTP/1.1 200 OK\r\n{extra}Content-Length: {bytes}\r\n\r\n{}", "v".repeat(bytes))
    };
    let problem = r#"{"code":"what"}"#;
    let refusal = format!("HTTP/1.1 503 Oh\r\nContent-Length: {}\r\n\r\n{problem}", problem.len());
    let url = serve(move |request| match request % 5 {
        0 => Reply::Bytewise(whole("", 30)),
        1 => Reply::Text(whole("", 1_000_000)),
        2 => Reply::Text(whole("Connection: close\r\n", 10)),
        3 => Reply::Bytewise(refusal.clone()),
        _ => Reply::Text(whole("", 0)),
    });
    let arguments = format!("get --no-fill --url {url} --connections 2 --seconds 0.3 --warm-up 0");
    let (code, report, error) = bench(&arguments);
    assert_eq!(code, 0, "{error}");
    assert!(number(&report, "requests") > 10, "{report}");
    assert_eq!(report["errors"], report["errors_by_code"]["status_503"], "{report}");
}

#[test]
fn an_answer_in_chunks_is_refused_with_a_reason() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let url = serve(move |_| Reply::Text(chunked.into()));
    let (code, report, error) =
        bench(&format!("get --no-fill --url {url} --connections 1 --seconds 0.2 --warm-up 0"));
    assert_eq!((code, number(&report, "requests")), (1, 0));
    assert!(error.contains("chunks") && number(&report["errors_by_code"], "transport") > 0, "{error}");
}
