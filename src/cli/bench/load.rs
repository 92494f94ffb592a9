//! Puts load on a server through one connection, for as long as it is told.
//!
//! In a *closed loop* the next request is sent once the last one was answered. A server that stands still is
//! then asked nothing, and what it would have been asked meanwhile is missing from the latencies. With a
//! *fixed rate* each request has a time when it is due, and its latency counts from then, however long it had
//! to wait for those before it.

use super::connection::{Broken, Connection};
use super::measure::Tally;
use super::requests::Requests;
use super::target::Server;
use super::timer::Timer;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(50);

/// When the load begins, counts, and ends.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub begin: Instant,
    pub count: Instant,
    pub end: Instant,
}

/// When one connection's requests are due, at a fixed rate of all connections together: they take turns.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub begin: Instant,
    /// Requests a second of all connections.
    pub rate: f64,
    /// This connection's number, and how many there are.
    pub connection: u32,
    pub connections: u32,
}

impl Schedule {
    /// When the request with this number is due, from 0.
    fn due(&self, number: u64) -> Instant {
        let turn = f64::from(self.connection) + number as f64 * f64::from(self.connections);
        self.begin + Duration::from_secs_f64(turn / self.rate)
    }

    /// The first request that is not due before an instant.
    fn first_at(&self, instant: Instant) -> u64 {
        let turns = instant.duration_since(self.begin).as_secs_f64() * self.rate;
        let about = (turns - f64::from(self.connection)) / f64::from(self.connections);
        // Rounding may have made it one more than it is; what is due when is for `due` alone to say.
        let mut number = (about as u64).saturating_sub(1);
        while self.due(number) < instant {
            number += 1;
        }
        number
    }

    /// How many that count are due, from the one with this number on.
    fn due_from(&self, number: u64, times: &Times) -> u64 {
        self.first_at(times.end).saturating_sub(number.max(self.first_at(times.count)))
    }
}

/// One connection's load.
pub struct Load {
    pub server: Server,
    pub connection: Connection,
    pub requests: Requests,
    /// How long a request, or to connect, may take.
    pub limit: Duration,
    pub times: Times,
}

impl Load {
    /// Sends each request when the last one is answered.
    pub async fn closed_loop(mut self) -> Result<Tally> {
        let mut tally = Tally::new()?;
        while self.connected().await {
            let sent = Instant::now();
            if sent >= self.times.end {
                break;
            }
            self.ask(sent, &mut tally).await?;
        }
        Ok(tally)
    }

    /// Sends each request when it is due, or as soon after that as the connection is free.
    pub async fn fixed_rate(mut self, schedule: Schedule) -> Result<Tally> {
        let mut tally = Tally::new()?;
        let mut timer = Timer::new().context("cannot make a timer")?;
        let mut number = 0;
        while self.connected().await {
            let due = schedule.due(number);
            if due >= self.times.end || Instant::now() >= self.times.end {
                break;
            }
            // Without a connection any more there is time to make another.
            if let Some(rung) = self.connection.idle(timer.until(due)).await {
                rung.context("cannot wait")?;
                number += 1;
                self.ask(due, &mut tally).await?;
            }
        }
        tally.behind = schedule.due_from(number, &self.times);
        Ok(tally)
    }

    /// Makes a request whose latency counts from `since`.
    ///
    /// # Errors
    /// The server wants to know who asks, and so it would answer every request.
    async fn ask(&mut self, since: Instant, tally: &mut Tally) -> Result<()> {
        let (kind, request) = self.requests.next();
        let answer = self.connection.ask(&request).await;
        let now = Instant::now();
        if answer.as_ref().is_ok_and(|answer| answer.refused.iter().any(|code| code == "NOAUTH")) {
            bail!("{} wants a token (NOAUTH): name its file with --token-file", self.server.url);
        }
        if since >= self.times.count {
            tally.count(kind, now.duration_since(since), now, &answer);
        }
        if answer.is_err() {
            // A server that accepts connections and breaks them is not to be hammered.
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Connects again if that is needed; false when time is up before that succeeds.
    async fn connected(&mut self) -> bool {
        while !self.connection.is_open() {
            match Connection::open(&self.server, self.limit).await {
                Ok(connection) => self.connection = connection,
                Err(error) => self.pause(&error).await,
            }
            if Instant::now() >= self.times.end {
                return false;
            }
        }
        true
    }

    async fn pause(&self, error: &Broken) {
        tracing::debug!(%error, url = self.server.url, "cannot connect");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 connections and 30 requests a second: one is due every 33 ms, on each connection every 100 ms.
    #[test]
    fn connections_take_turns() {
        let begin = Instant::now();
        let of = |connection| Schedule { begin, rate: 30.0, connection, connections: 3 };
        let millis = |connection, number| of(connection).due(number).duration_since(begin).as_millis();
        assert_eq!([millis(0, 0), millis(1, 0), millis(2, 0)], [0, 33, 66]);
        assert_eq!([millis(0, 1), millis(1, 1), millis(0, 10)], [100, 133, 1_000]);
        let at = |millis| begin + Duration::from_millis(millis);
        let times = Times { begin, count: at(1_000), end: at(3_000) };
        assert_eq!([of(0).due_from(0, &times), of(0).due_from(15, &times)], [20, 15]);
        assert_eq!(of(2).due_from(30, &times), 0);
        // As many as the rate says, wherever rounding falls.
        for (rate, millis) in [(200.0, 2_200), (7.0, 1_000), (1_000.0, 3_333)] {
            let times = Times { begin, count: begin, end: at(millis) };
            let of = |connection| Schedule { begin, rate, connection, connections: 4 };
            let all: u64 = (0..4).map(|connection| of(connection).due_from(0, &times)).sum();
            assert_eq!(all, (rate * millis as f64 / 1_000.0).ceil() as u64, "{rate} a second");
        }
    }
}
