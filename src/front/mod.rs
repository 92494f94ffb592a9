//! What every front door shares, whatever protocol it speaks: whether the node has its cluster yet, and what clients may
//! use of a node together: connections, memory for bodies and answers, watches. A front door is a listener for clients: `http`, and
//! `resp` for the Redis protocol. No protocol is spoken here.

mod answer_memory;
mod body_memory;
mod client_address;
mod connection_slots;
mod inbox;
mod limits;
mod line_rate;
mod meters;
mod rate_limits;
mod redis_clients;
mod request_stats;
mod sampler;
mod state;
mod watchers;

pub use answer_memory::{AnswerMemory, AnswerPermit, SMALL_ANSWER_BYTES};
pub use body_memory::{BodyBuffer, BodyMemory, InputMemory, MemoryPermit};
pub use client_address::{ClientAddress, Shares};
pub use connection_slots::{ConnectionSlot, ConnectionSlots, NoSlot};
pub use inbox::{Forget, Inbox};
pub use limits::FrontLimits;
pub use line_rate::{LineRate, truncate};
pub use rate_limits::{Consumer, RateLimit, RateLimits, RateMode, RateSettings, Spent};
pub use redis_clients::{Begun, ClientFacts, RedisClient, RedisClients, RegisteredClient, Tracked};
pub use request_stats::{BUCKETS_US, REDIS_ROUTE, RequestKind, RequestStats, Series, percentile};
pub use sampler::{SAMPLE_INTERVAL, keep_sampling};
pub use state::Front;
pub use watchers::{Priority, SendPermit, WatchPermit, Watchers};

/// Clients use up a shared limit. Nothing was done, and the client can try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Busy(pub &'static str);
