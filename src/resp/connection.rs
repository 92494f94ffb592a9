//! One client's connection: what arrives is parsed, carried out in its order, and answered in its order.
//!
//! All commands that have arrived are taken together. Those about data that follow one another are carried out together, so a
//! pipeline takes few log entries. One such batch at a time: what arrives meanwhile is the next one.

use super::client::Client;
use super::dispatch::{self, Dispatched, Waiting, dispatch};
use super::feed::{Feed, FeedEvent, Told};
use super::outgoing::{Ended, Outgoing};
use super::pace::{SLACK, time_for};
use super::parser::{ParseLimits, Parsed, Parser};
use super::plan::Plan;
use super::reply::{Protocol, Reply};
use super::run::{Replies, Run};
use super::tracking::invalidation;
use super::{alone, answers, meter, moving};
use crate::front::{Forget, InputMemory, SMALL_ANSWER_BYTES};
use bytes::BytesMut;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Commands that are carried out before more are read.
const COMMANDS_MAX: usize = 1_024;
/// Room for what arrives next.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take to say who it is, and one of a Sentinel port to say anything.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Connection<S> {
    outgoing: Outgoing<S>,
    client: Client,
    closing: watch::Receiver<bool>,
    parser: Parser,
    /// What waits for what comes after it.
    waiting: Vec<Waiting>,
    /// Bytes of replies in it that are known already.
    known: usize,
    input: InputMemory,
    /// Bytes that have arrived since there was nothing to do.
    received: usize,
    /// Since when the client has to say who it is, or anything.
    new_since: Option<Instant>,
    /// It has sent a command.
    has_asked: bool,
    /// Since when a command is not whole, and how many bytes have come since.
    begun: Option<(Instant, usize)>,
}

/// What a connection waits for.
enum Happened {
    /// So many bytes have arrived.
    Read(usize),
    Told(Told),
    /// Another connection has something for this one, or is not there any more, or this node is about to stop.
    Other,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(stream: S, client: Client, closing: watch::Receiver<bool>) -> Self {
        Self {
            outgoing: Outgoing::new(stream),
            client,
            closing,
            parser: Parser::default(),
            waiting: Vec::new(),
            known: 0,
            input: InputMemory::default(),
            received: 0,
            new_since: None,
            has_asked: false,
            begun: None,
        }
    }

    /// Serves the client until it leaves, or has to.
    pub async fn serve(mut self) {
        while self.next().await.is_ok() {}
        self.leave();
        let _ = Box::pin(self.send()).await;
        self.outgoing.shutdown().await;
    }

    /// Carries out what has arrived; if that is nothing, waits for more.
    async fn next(&mut self) -> Result<(), Ended> {
        // What it needs is allocated as it is needed: a connection that idles has little.
        match Box::pin(self.work()).await? {
            true => Ok(()),
            false => self.receive().await,
        }
    }

    /// False if there was nothing to do.
    async fn work(&mut self) -> Result<bool, Ended> {
        let mut count = 0;
        while count < COMMANDS_MAX {
            match self.parser.next(self.limits()) {
                Ok(Some(Parsed::Command(words))) => self.command(words).await?,
                Ok(Some(Parsed::TooLarge(bytes))) => {
                    self.waiting.push(dispatch::too_large(&mut self.client, bytes));
                }
                Ok(None) => break,
                Err(error) => {
                    self.flush().await?;
                    self.tell(&Reply::error(format!("ERR {error}")));
                    return Err(Ended);
                }
            }
            count += 1;
            (self.has_asked, self.begun) = (true, None);
            if self.client.ends {
                self.flush().await?;
                return Err(Ended);
            }
        }
        self.flush().await?;
        // After the replies to what came before: a push never stands within one.
        while let Some(told) = self.client.feed.as_mut().and_then(Feed::try_next) {
            self.push(told).await?;
        }
        if let Some(due) = self.client.tracking.as_mut().and_then(|tracking| tracking.take_due()) {
            self.invalidate(due);
        }
        self.hear().await?;
        self.send().await?;
        if self.client.ends {
            return Err(Ended);
        }
        if count == 0 {
            self.received = self.parser.waiting() + self.client.held_bytes();
            self.input = InputMemory::default();
            self.count_input()?;
        }
        Ok(count > 0)
    }

    async fn receive(&mut self) -> Result<(), Ended> {
        self.outgoing.rest();
        let has_begun = self.parser.has_begun();
        if has_begun && self.input.wait(&self.client.shared.front.body_memory, self.counted()).is_err() {
            return self.refuse_input();
        }
        let until = self.until(has_begun);
        let Self { outgoing: Outgoing { stream, .. }, parser, client, closing, .. } = self;
        let Client { feed, registered, tracking, moving, .. } = client;
        let moving = async {
            match moving {
                Some(moving) => moving.begins().await,
                None => std::future::pending().await,
            }
        };
        let redirect = tracking.as_ref().and_then(|tracking| tracking.redirect.as_ref());
        let redirect = redirect.filter(|redirect| !redirect.is_broken);
        let breaking = async {
            match redirect {
                Some(redirect) => redirect.target.gone().await,
                None => std::future::pending().await,
            }
        };
        let feeding = async {
            match feed {
                Some(feed) => feed.next().await,
                None => std::future::pending().await,
            }
        };
        let reading = async {
            match until {
                Some(until) => timeout_at(until, read(stream, parser.buffer())).await.unwrap_or(Ok(0)),
                None => read(stream, parser.buffer()).await,
            }
        };
        let happened = tokio::select! {
            biased;
            read = reading => Happened::Read(read.map_err(|_| Ended)?),
            told = feeding => Happened::Told(told),
            () = registered.presence.inbox.came() => Happened::Other,
            () = breaking => Happened::Other,
            () = moving => Happened::Other,
            () = registered.presence.ended() => return Err(Ended),
            // What has arrived already was looked at.
            _ = closing.wait_for(|closing| *closing) => return Err(Ended),
        };
        let count = match happened {
            Happened::Read(0) => return Err(Ended),
            Happened::Read(count) => count,
            Happened::Other => return Ok(()),
            Happened::Told(told) => {
                Box::pin(self.push(told)).await?;
                return Box::pin(self.send()).await;
            }
        };
        self.received += count;
        if let Some((_, bytes)) = &mut self.begun {
            *bytes += count;
        }
        self.count_input()
    }

    /// When the client must have sent more.
    fn until(&mut self, has_begun: bool) -> Option<Instant> {
        let now = Instant::now();
        let is_new = self.client.is_stranger() || self.client.is_sentinel() && !self.has_asked;
        self.new_since = is_new.then(|| self.new_since.unwrap_or(now));
        self.begun = has_begun.then(|| self.begun.unwrap_or((now, 0)));
        let first = self.new_since.map(|since| since + LOGIN_TIMEOUT);
        let rest = self.begun.map(|(since, bytes)| (now + SLACK).min(since + time_for(bytes)));
        first.into_iter().chain(rest).min()
    }

    /// Takes a part of the memory of all input for what is held for this client.
    fn count_input(&mut self) -> Result<(), Ended> {
        let counted = self.counted();
        match self.input.grow_to(&self.client.shared.front.body_memory, counted) {
            Ok(()) => Ok(()),
            Err(_) => self.refuse_input(),
        }
    }

    /// Tells what has changed.
    async fn push(&mut self, told: Told) -> Result<(), Ended> {
        match told {
            Told::Changes(changes) => {
                for (index, events) in changes {
                    self.tell_changes(index, &events).await?;
                }
                Ok(())
            }
            Told::Lost => {
                // Whoever keeps values must not go on with them, and whoever waits for messages has missed some.
                if let Some(tracking) = &mut self.client.tracking {
                    let all = tracking.forget_all();
                    self.invalidate(all);
                }
                Err(Ended)
            }
        }
    }

    /// Each message is made once there is room for it: there is one for each event, and for each pattern.
    async fn tell_changes(&mut self, index: u64, events: &[FeedEvent]) -> Result<(), Ended> {
        let Client { subscriptions, shared, protocol, .. } = &self.client;
        if subscriptions.need_feed() {
            for event in events {
                for message in subscriptions.messages(index, event) {
                    self.outgoing.add(&message, *protocol);
                    self.outgoing.send_told(&shared.front.answer_memory).await?;
                }
                // Many events that no pattern fits would keep others from being served.
                tokio::task::coop::consume_budget().await;
            }
        }
        let tracked = self.client.tracking.as_mut().map(|tracking| tracking.told(index, events));
        tracked.unwrap_or_default().into_iter().for_each(|forget| self.invalidate(forget));
        self.send_told().await
    }

    /// Tells the client, or the connection that is told in its place, what it must forget.
    fn invalidate(&mut self, forget: Forget) {
        let redirect = self.client.tracking.as_ref().and_then(|tracking| tracking.redirect.as_ref());
        match redirect {
            Some(redirect) => redirect.target.inbox.add(forget, &self.client.principal.name()),
            None => self.tell(&invalidation(forget, false)),
        }
    }

    /// Tells what other connections have for this one, and whether the one is gone that is told in its place.
    async fn hear(&mut self) -> Result<(), Ended> {
        let is_new = self.client.protocol == Protocol::Resp3;
        let presence = self.client.registered.presence.clone();
        match self.client.hears_invalidations() {
            true => {
                for forget in presence.inbox.take(&self.client.principal.name()) {
                    self.tell(&invalidation(forget, !is_new));
                    self.send_told().await?;
                }
            }
            false => presence.inbox.keep(),
        }
        if let Some(moving) = moving::told(&mut self.client) {
            self.tell(&moving);
        }
        let redirect = self.client.tracking.as_mut().and_then(|tracking| tracking.redirect.as_mut());
        let Some(redirect) = redirect.filter(|redirect| !redirect.is_broken && redirect.target.is_gone())
        else {
            return Ok(());
        };
        redirect.is_broken = true;
        let id = Reply::Integer(i64::try_from(redirect.target.id).unwrap_or(i64::MAX));
        self.client.show();
        if !is_new {
            // It cannot be told that it must not go on with what it has.
            return Err(Ended);
        }
        self.tell(&Reply::Push(vec![Reply::bulk("tracking-redir-broken"), id]));
        Ok(())
    }

    /// Whoever is told in its place is not told any more what becomes of what it has read.
    fn leave(&mut self) {
        let Some(tracking) = &mut self.client.tracking else { return };
        if tracking.redirect.is_some()
            && let Some(forget) = tracking.forget_remembered()
        {
            self.invalidate(forget);
        }
    }

    /// What counts of the bytes that have arrived: the limit of connections bounds the rest.
    fn counted(&self) -> usize {
        self.received.saturating_sub(READ_BYTES)
    }

    fn refuse_input(&mut self) -> Result<(), Ended> {
        self.tell(&Reply::error(
            "UNAVAILABLE nothing was done: too many commands are on their way to this node",
        ));
        Err(Ended)
    }

    fn limits(&self) -> ParseLimits {
        match self.client.is_stranger() || self.client.is_sentinel() {
            true => ParseLimits::STRANGER,
            false => ParseLimits::for_values(self.client.shared.front.limits.value_bytes),
        }
    }

    async fn command(&mut self, words: Vec<bytes::Bytes>) -> Result<(), Ended> {
        match dispatch(&mut self.client, words).await {
            Dispatched::Waits(waiting) => {
                let (waiting, _permit) = answers::admit_known(&self.client, waiting);
                self.known += answers::known_bytes(&waiting.plan);
                self.waiting.push(waiting);
                self.client.show_begun();
                if self.known > SMALL_ANSWER_BYTES {
                    self.flush().await?;
                }
            }
            Dispatched::Alone { work, is_told, command } => {
                self.flush().await?;
                let began = Instant::now();
                let (reply, permit) = Box::pin(alone::reply(work, &mut self.client)).await;
                meter::note(&self.client, command, &reply, began.elapsed());
                if is_told || reply.is_push() {
                    self.tell(&reply);
                }
                drop(reply);
                self.client.show_begun();
                match permit {
                    Some(_) => self.send().await?,
                    None => self.send_much().await?,
                }
            }
        }
        Ok(())
    }

    /// Carries out what waits.
    async fn flush(&mut self) -> Result<(), Ended> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        self.known = 0;
        let split = waiting
            .into_iter()
            .map(|Waiting { plan, is_told, command, is_tracked }| (plan, (is_told, command, is_tracked)));
        let (plans, told): (Vec<Plan>, Vec<_>) = split.unzip();
        let mut told = told.into_iter();
        let has_data = plans.iter().any(|plan| !plan.ops.is_empty());
        let session = if has_data { self.client.session() } else { None };
        let Some(session) = session else {
            let loading = Reply::error(super::errors::LOADING);
            for (plan, (is_told, command, _)) in plans.iter().zip(told) {
                let reply = if plan.ops.is_empty() { plan.shape.reply(&[], 0) } else { loading.clone() };
                self.client.ends |= !plan.ops.is_empty();
                meter::note(&self.client, command, &reply, began.elapsed());
                if is_told {
                    self.tell(&reply);
                }
            }
            return self.send_much().await;
        };
        let front = self.client.shared.front.clone();
        let mut run = Run::new(session, &front.answer_memory, &plans, self.client.touches);
        let mut rest = plans.iter();
        while let Some(Replies { replies, permit, index }) = run.next().await {
            self.client.note_seen(index);
            for ((reply, plan), (is_told, command, is_tracked)) in
                replies.iter().zip(rest.by_ref()).zip(told.by_ref())
            {
                if is_tracked && let Some(tracking) = &mut self.client.tracking {
                    plan.ops.iter().for_each(|op| tracking.note_read(op.key().as_str(), index));
                }
                meter::note(&self.client, command, reply, began.elapsed());
                if is_told {
                    self.tell(reply);
                    self.send_much().await?;
                }
            }
            if permit.is_some() {
                self.send().await?;
            }
        }
        let written = run.applied();
        self.client.note_written(written.unwrap_or(0));
        Ok(())
    }

    fn tell(&mut self, reply: &Reply) {
        self.outgoing.add(reply, self.client.protocol);
    }

    /// Sends what there is, if it is much.
    async fn send_much(&mut self) -> Result<(), Ended> {
        self.outgoing.send_much(&self.client.shared.front.answer_memory).await
    }

    /// Sends what nobody has asked for, if it is much.
    async fn send_told(&mut self) -> Result<(), Ended> {
        self.outgoing.send_told(&self.client.shared.front.answer_memory).await
    }

    async fn send(&mut self) -> Result<(), Ended> {
        self.outgoing.send(&self.client.shared.front.answer_memory).await
    }
}

/// Reads what there is. A client that waits has no buffer: it is read into one that all share, and copied.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> std::io::Result<usize> {
    if !buffer.is_empty() {
        buffer.reserve(READ_BYTES);
        return stream.read_buf(buffer).await;
    }
    std::future::poll_fn(|context| {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let mut room = ReadBuf::uninit(&mut room);
        match Pin::new(&mut *stream).poll_read(context, &mut room) {
            Poll::Ready(Ok(())) => {
                buffer.extend_from_slice(room.filled());
                Poll::Ready(Ok(room.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
