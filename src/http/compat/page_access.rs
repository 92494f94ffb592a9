//! Which pages may listen to Socket.IO events, once requests need a token. The events show all keys, so a page needs to be allowed
//! to read all of them. It shows its token in the `auth` of its connection, or in the header `Authorization`.

use super::super::access;
use super::super::state::AppState;
use super::socket_io::Pages;
use crate::cache::{Need, Role};
use crate::node::Principal;
use serde::Deserialize;
use socketioxide::extract::{SocketRef, TryData};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How soon a page is disconnected that may not listen any more.
const JUDGE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a page waits until the node has its cluster.
const CLUSTER_WAIT: Duration = Duration::from_secs(20);

/// What a page sends when it connects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Auth {
    token: Option<String>,
}

/// Admits a page to the events, and notes who it is.
///
/// # Errors
/// A sentence for the page.
pub(super) async fn admit_page(page: SocketRef, auth: Option<Auth>, state: AppState) -> Result<(), String> {
    if !state.front.may_need_token() {
        return Ok(());
    }
    // Nobody can judge the page before. A node that has been let go of shows nothing any more.
    let opened = timeout(CLUSTER_WAIT, state.front.opened()).await;
    opened.map_err(|_| "this node has not found its cluster yet")?;
    let shown = auth.and_then(|auth| auth.token);
    let principal = match &shown {
        Some(token) => access::principal_with(token, &state),
        // What came with the request: a header, a session's cookie, or a certificate.
        None => match page.req_parts().extensions.get::<Principal>() {
            Some(noted) => Some(noted.clone()),
            None => access::principal(&page.req_parts().headers, &state),
        },
    };
    let asks = state.front.needs_token();
    let principal = principal.or((!asks).then_some(Principal::Anyone));
    let principal = principal.ok_or("this is no token: expected lsk_…")?;
    page.extensions.insert(principal.clone());
    judge(&principal, &state).await
}

/// Disconnects pages that may not listen any more, as long as there are pages.
pub(super) async fn judge_pages(pages: &Pages, state: &AppState) {
    loop {
        sleep(JUDGE_INTERVAL).await;
        if !state.front.needs_token() {
            continue;
        }
        for page in pages.all() {
            let session = state.session(principal_of(&page));
            if session.is_some_and(|session| !session.may_now(&all_keys())) {
                let _ = page.disconnect();
            }
        }
    }
}

/// Who a page is.
pub(super) fn principal_of(page: &SocketRef) -> Principal {
    page.extensions.get::<Principal>().unwrap_or(Principal::Anyone)
}

async fn judge(principal: &Principal, state: &AppState) -> Result<(), String> {
    let Some(session) = state.session(principal.clone()) else { return Ok(()) };
    session.authorize(&all_keys()).await.map_err(|refused| refused.error.to_string())
}

fn all_keys() -> Need {
    Need::Prefix(Role::Read, String::new())
}

/// The page's `auth`; `None` where it sends none, or something else.
pub(super) fn auth_in(data: TryData<Auth>) -> Option<Auth> {
    data.0.ok()
}
