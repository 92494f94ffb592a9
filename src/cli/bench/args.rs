//! What `lockstep bench` can be asked for, and which requests make no sense.

use super::super::common_args::{Target, parse_consistency};
use super::super::exit::Usage;
use crate::api::Consistency;
use crate::cache::limits::{BATCH_OPS_MAX, TTL_MS_MAX, TTL_MS_MIN};
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::time::Duration;

/// Puts in a batch that nobody chose.
const BATCH: u32 = 100;
/// Writes among mixed requests, unless somebody chose.
const WRITE_PERCENT: u8 = 10;
/// Exponent of a Zipf distribution that names none: the one of the YCSB benchmark.
const ZIPF_EXPONENT: f64 = 0.99;
/// Largest exponent: far beyond it nearly every request is for one key.
const ZIPF_EXPONENT_MAX: f64 = 10.0;
/// Longest run, in seconds.
const SECONDS_MAX: f64 = 86_400.0;
/// Highest rate, in requests a second.
const RATE_MAX: f64 = 10_000_000.0;
/// Most different keys: their numbers have as many digits as fit.
pub const KEYS_MAX: u64 = 1_000_000_000;
/// Largest value, in bytes: as much as a node may be told to accept.
const VALUE_BYTES_MAX: i64 = 2_000_000;
/// Most bytes of the keys and values of a batch: what a log entry holds, less some room.
const BATCH_BYTES_MAX: u64 = 1_900_000;
/// Most commands in a pipeline: all of them are sent before a reply is read, so they must fit what lies between.
const PIPELINE_MAX: i64 = 1_024;
/// Most bytes of the values in a pipeline.
const PIPELINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a put in a batch takes besides its value, at most.
const PUT_OVERHEAD_BYTES: u64 = 64;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Workload
    pub work: Work,
    /// Which nodes get the load
    #[arg(long, default_value = "any")]
    pub to: To,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Seconds to measure
    #[arg(long, default_value = "10", value_parser = parse_some_seconds)]
    pub seconds: Duration,
    /// Seconds of load before the measurement
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    pub warm_up: Duration,
    /// Requests per second over all connections, due at equal intervals; latency counts from the due time.
    /// Without it each connection sends its next request as soon as it has its answer
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Number of different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    pub keys: u64,
    /// Distribution of requests over the keys: uniform, zipf or zipf:EXPONENT
    #[arg(long, default_value = "uniform", value_parser = parse_distribution)]
    pub distribution: Distribution,
    /// Size of each value, in bytes
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX))]
    pub value_bytes: u32,
    /// For get and mixed: consistency, which is linearizable, lease or stale [default: linearizable]
    #[arg(long, value_parser = parse_consistency)]
    pub consistency: Option<Consistency>,
    /// For mixed: percentage of puts [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub write_percent: Option<u8>,
    /// For batch: puts in each batch [default: 100]
    #[arg(long, value_name = "PUTS", value_parser = clap::value_parser!(u32).range(1..=BATCH_OPS_MAX as i64))]
    pub batch: Option<u32>,
    /// For put, batch and mixed: TTL of the values, in milliseconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(TTL_MS_MIN..=TTL_MS_MAX))]
    pub ttl_ms: Option<u64>,
    /// Redis protocol servers that take the load instead of those at --url, separated by commas: HOST:PORT,
    /// redis://HOST:PORT or rediss://HOST:PORT; any server that speaks it
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    pub redis: Vec<String>,
    /// With --redis: commands that a connection sends at once; what counts as a request is all of them [default: 1]
    #[arg(long, value_name = "COMMANDS", value_parser = clap::value_parser!(u32).range(1..=PIPELINE_MAX))]
    pub pipeline: Option<u32>,
    /// Seed of the keys and the value: the same seed requests the same keys
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// For get and mixed: do not store all keys first
    #[arg(long)]
    pub no_fill: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What the requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Store a value
    Put,
    /// Read a value
    Get,
    /// Mostly read, sometimes store
    Mixed,
    /// Add 1 to a counter
    Incr,
    /// Store many values in one request
    Batch,
}

/// Which of the nodes take the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// All nodes, with an equal share of the connections
    Any,
    /// The leader
    Leader,
    /// All but the leader
    Followers,
    /// The server at the first URL, which need not be a node
    Server,
}

/// How often each key is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    Uniform,
    /// The key of rank r as often as 1 in r to this power.
    Zipf(f64),
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// The name that is typed for a choice.
pub fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl BenchArgs {
    pub fn consistency(&self) -> Consistency {
        self.consistency.unwrap_or_default()
    }

    pub fn write_percent(&self) -> u8 {
        self.write_percent.unwrap_or(WRITE_PERCENT)
    }

    /// Puts in a batch.
    pub fn batch(&self) -> u32 {
        self.batch.unwrap_or_else(|| BATCH.min(u32::try_from(self.keys).unwrap_or(BATCH)))
    }

    /// Commands that are sent at once.
    pub fn pipeline(&self) -> u32 {
        self.pipeline.unwrap_or(1)
    }

    /// Whether the keys must be there before the first request.
    pub fn fills(&self) -> bool {
        matches!(self.work, Work::Get | Work::Mixed) && !self.no_fill
    }

    /// Puts in each batch that fills: what a log entry holds.
    pub fn fill_batch(&self) -> usize {
        let room = BATCH_BYTES_MAX / (u64::from(self.value_bytes) + PUT_OVERHEAD_BYTES);
        usize::try_from(room).unwrap_or(BATCH_OPS_MAX).clamp(1, BATCH_OPS_MAX)
    }

    /// Refuses what makes no sense together: an option without effect would be taken for a finding.
    pub fn check(&self) -> Result<(), Usage> {
        let reads = matches!(self.work, Work::Get | Work::Mixed);
        let puts = matches!(self.work, Work::Put | Work::Batch | Work::Mixed);
        let misplaced = [
            ("--consistency", self.consistency.is_some(), reads),
            ("--no-fill", self.no_fill, reads),
            ("--write-percent", self.write_percent.is_some(), self.work == Work::Mixed),
            ("--batch", self.batch.is_some(), self.work == Work::Batch),
            ("--ttl-ms", self.ttl_ms.is_some(), puts),
        ];
        if let Some((option, ..)) = misplaced.into_iter().find(|(_, given, fits)| *given && !fits) {
            return Err(Usage(format!("{option} does nothing for {}", name(self.work))));
        }
        self.check_redis()?;
        if self.work != Work::Batch {
            return Ok(());
        }
        let (puts, value_bytes) = (u64::from(self.batch()), u64::from(self.value_bytes));
        if puts > self.keys {
            let reason = format!("a batch of {puts} puts needs as many --keys: it writes none twice");
            return Err(Usage(reason));
        }
        if puts * (value_bytes + PUT_OVERHEAD_BYTES) > BATCH_BYTES_MAX {
            let reason = format!("{puts} values of {value_bytes} bytes are more than a batch may hold");
            return Err(Usage(reason));
        }
        Ok(())
    }
}

impl BenchArgs {
    fn check_redis(&self) -> Result<(), Usage> {
        let pipeline_bytes = u64::from(self.pipeline()) * u64::from(self.value_bytes);
        let refused = match (self.redis.is_empty(), self.work) {
            (true, _) if self.pipeline.is_some() => "--pipeline is for --redis",
            (false, _) if matches!(self.to, To::Leader | To::Followers) => {
                "--to leader and followers are for --url: name the servers that are meant with --redis"
            }
            (false, Work::Batch) if self.pipeline.is_some() => "--pipeline does nothing for batch",
            (false, Work::Batch) if self.ttl_ms.is_some() => {
                "--ttl-ms does nothing for batch: MSET has no TTL"
            }
            (false, _) if pipeline_bytes > PIPELINE_BYTES_MAX => {
                "the values of a pipeline have at most 64 MiB"
            }
            _ => return Ok(()),
        };
        Err(Usage(refused.into()))
    }
}

#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Port to listen on
    #[arg(long)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, at most {SECONDS_MAX}")),
    }
}

fn parse_some_seconds(text: &str) -> Result<Duration, String> {
    match parse_seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".into()),
        some => Ok(some),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected requests a second, more than 0 and at most {RATE_MAX}")),
    }
}

fn parse_distribution(text: &str) -> Result<Distribution, String> {
    let exponent = match text.split_once(':') {
        None if text == "uniform" => return Ok(Distribution::Uniform),
        None if text == "zipf" => return Ok(Distribution::Zipf(ZIPF_EXPONENT)),
        Some(("zipf", exponent)) => exponent.parse().ok(),
        _ => None,
    };
    match exponent {
        Some(exponent) if exponent > 0.0 && exponent <= ZIPF_EXPONENT_MAX => Ok(Distribution::Zipf(exponent)),
        _ => Err(format!(
            "expected uniform, zipf or zipf:EXPONENT, more than 0 and at most {ZIPF_EXPONENT_MAX}"
        )),
    }
}
