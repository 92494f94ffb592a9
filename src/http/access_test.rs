//! Requests that come before the node has its cluster.

use super::access;
use super::state::{AppState, HttpSettings};
use crate::front::{Front, FrontLimits};
use crate::node::{NodeOptions, Opened, Session};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;

fn request() -> Request {
    Request::post("/v1/leader").body(Body::empty()).expect("a request")
}

/// Nobody could judge it, and the node may know by then that whoever asks is not allowed to.
#[tokio::test]
async fn a_request_that_came_before_the_node_had_its_cluster_gets_no_session_afterwards() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = Opened::open(NodeOptions::alone(dir.path())).await.expect("it opens");
    let front = Front::new(opened.bootstrap(), FrontLimits::default());
    let state = AppState::new(front.clone(), HttpSettings::default());
    assert!(front.may_need_token(), "nobody knows, so each request is looked at");
    let mut early = request();
    assert!(access::authorize(&mut early, Some("/v1/leader"), &state).await.is_ok());

    let node = opened.start().await.expect("it starts");
    front.open(node.clone());
    let (mut early, _) = early.into_parts();
    let refused = Session::from_request_parts(&mut early, &state).await.err().expect("no session");
    assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);

    let mut late = request();
    assert!(access::authorize(&mut late, Some("/v1/leader"), &state).await.is_ok());
    let (mut late, _) = late.into_parts();
    assert!(Session::from_request_parts(&mut late, &state).await.is_ok());
    front.close();
    node.stop().await;
}
