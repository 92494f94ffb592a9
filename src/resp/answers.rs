//! What replies take of the memory of all answers, where that is known only once a command has looked. Where other clients have not read
//! theirs, a large reply is not made, or is not kept.

use super::client::Client;
use super::commands::Alone;
use super::dispatch::{Waiting, Work, end_transaction};
use super::listing::KEYS_BYTES_MAX;
use super::plan::{Plan, Shape};
use super::reply::Reply;
use crate::front::{AnswerPermit, Busy};

/// Takes a part for what a command may find before it begins.
///
/// # Errors
/// A reply that says that there is no memory. Nothing was done.
pub(super) fn reserve(client: &mut Client, work: &Work) -> Result<Option<AnswerPermit>, Reply> {
    let walks = match work {
        Work::Command(Alone::Keys, _) => 1,
        Work::Command(Alone::Exec, _) => client.transaction.as_ref().map_or(0, |queued| queued.listings()),
        _ => 0,
    };
    if walks == 0 {
        return Ok(None);
    }
    // Names take no more than the entries that have them.
    let stored = client.session().map_or(0, |session| session.totals().bytes);
    let bytes = walks * usize::try_from(stored).unwrap_or(usize::MAX).min(KEYS_BYTES_MAX);
    client.shared.front.answer_memory.reserve(bytes).map_err(|busy| {
        end_transaction(client);
        unavailable(busy)
    })
}

/// A reply to what was carried out, with its part of the memory; another one if there is no memory for it. `wrote`: something may have been
/// written.
pub(super) fn admit(
    client: &Client,
    kind: Option<Alone>,
    reply: Reply,
    wrote: bool,
) -> (Reply, Option<AnswerPermit>) {
    let memory = &client.shared.front.answer_memory;
    if !matches!(kind, Some(Alone::Keys | Alone::Scan | Alone::Eval | Alone::Exec)) {
        let permit = memory.take(reply.bytes());
        return (reply, permit);
    }
    match (memory.reserve(reply.bytes()), wrote) {
        (Ok(permit), _) => (reply, permit),
        (Err(busy), false) => (unavailable(busy), None),
        (Err(busy), true) => {
            (Reply::error(format!("OUTCOMEUNKNOWN it was carried out, and its reply is lost: {busy}")), None)
        }
    }
}

/// The same for a reply that is known before anything is carried out.
pub(super) fn admit_known(client: &Client, waiting: Waiting) -> (Waiting, Option<AnswerPermit>) {
    match client.shared.front.answer_memory.reserve(known_bytes(&waiting.plan)) {
        Ok(permit) => (waiting, permit),
        Err(busy) => (Waiting { plan: Plan::known(unavailable(busy)), ..waiting }, None),
    }
}

/// About how many bytes a reply takes that is known already, beside its plan.
pub(super) fn known_bytes(plan: &Plan) -> usize {
    match &plan.shape {
        Shape::Known(reply) => reply.bytes() - size_of::<Reply>(),
        _ => 0,
    }
}

fn unavailable(busy: Busy) -> Reply {
    Reply::error(format!("UNAVAILABLE nothing was done: {busy}"))
}
