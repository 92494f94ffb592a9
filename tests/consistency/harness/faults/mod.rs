//! What is done to the cluster, one family of faults a file.

mod clock;
mod damage;
mod disk;
mod links;
mod membership;
mod partition;
mod process;
mod snapshot;
pub mod strace;

pub use strace::works as strace_works;

use super::cluster::Cluster;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KillLeader,
    KillFollower,
    KillMajority,
    KillAll,
    PauseLeader,
    PauseFollower,
    PauseMajority,
    RollingRestart,
    LeaderAlone,
    LeaderInMinority,
    LeaderInMajority,
    Bridge,
    Ring,
    LeaderDeaf,
    LeaderMute,
    Flapping,
    SlowLinks,
    SlowLeader,
    Throttled,
    Resets,
    ClientsCut,
    ClockJumpLeader,
    ClockJumpAll,
    ClockSkew,
    FsyncError,
    DiskFull,
    CrashInFlush,
    CrashInSnapshotBuild,
    CrashInSnapshotInstall,
    CrashInPurge,
    BitFlip,
    Truncation,
    TransferLead,
    JoinAndLeave,
    Replace,
    RemoveLeader,
}

/// Why a fault came to nothing.
#[derive(Debug)]
pub enum Failed {
    /// It could not be done; that says nothing about the cluster.
    NotDone(String),
    /// The cluster did not do what it must be able to.
    Broken(String),
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self::NotDone(reason)
    }
}

impl From<&str> for Failed {
    fn from(reason: &str) -> Self {
        Self::NotDone(reason.to_owned())
    }
}

/// What kinds have in common. Two faults at a time are of different families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Process,
    Partition,
    Links,
    Clock,
    /// Ends with the node replaced or restarted, which needs the others in peace.
    Disk,
    Membership,
}

impl Kind {
    pub const ALL: [Self; 36] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::KillMajority,
        Self::KillAll,
        Self::PauseLeader,
        Self::PauseFollower,
        Self::PauseMajority,
        Self::RollingRestart,
        Self::LeaderAlone,
        Self::LeaderInMinority,
        Self::LeaderInMajority,
        Self::Bridge,
        Self::Ring,
        Self::LeaderDeaf,
        Self::LeaderMute,
        Self::Flapping,
        Self::SlowLinks,
        Self::SlowLeader,
        Self::Throttled,
        Self::Resets,
        Self::ClientsCut,
        Self::ClockJumpLeader,
        Self::ClockJumpAll,
        Self::ClockSkew,
        Self::FsyncError,
        Self::DiskFull,
        Self::CrashInFlush,
        Self::CrashInSnapshotBuild,
        Self::CrashInSnapshotInstall,
        Self::CrashInPurge,
        Self::BitFlip,
        Self::Truncation,
        Self::TransferLead,
        Self::JoinAndLeave,
        Self::Replace,
        Self::RemoveLeader,
    ];

    pub fn name(self) -> String {
        // KillLeader -> kill-leader
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    pub fn family(self) -> Family {
        use Kind::*;
        match self {
            KillLeader | KillFollower | KillMajority | KillAll | PauseLeader | PauseFollower
            | PauseMajority | RollingRestart => Family::Process,
            LeaderAlone | LeaderInMinority | LeaderInMajority | Bridge | Ring | LeaderDeaf | LeaderMute
            | Flapping => Family::Partition,
            SlowLinks | SlowLeader | Throttled | Resets | ClientsCut => Family::Links,
            ClockJumpLeader | ClockJumpAll | ClockSkew => Family::Clock,
            FsyncError
            | DiskFull
            | CrashInFlush
            | CrashInSnapshotBuild
            | CrashInSnapshotInstall
            | CrashInPurge
            | BitFlip
            | Truncation => Family::Disk,
            TransferLead | JoinAndLeave | Replace | RemoveLeader => Family::Membership,
        }
    }

    /// Whether it can happen to this cluster on this machine.
    pub fn is_possible(self, cluster: &Cluster, strace: bool) -> bool {
        let nodes = cluster.members.len();
        match self {
            // A minority of three is one node, and a ring of three lacks nothing.
            Self::LeaderInMinority | Self::Ring => nodes >= 5,
            Self::FsyncError | Self::DiskFull | Self::CrashInFlush | Self::CrashInSnapshotBuild => strace,
            // There must be something to cut.
            Self::CrashInPurge => strace && cluster.shape.entries_kept <= 100,
            // Its log must get short enough that it needs a snapshot.
            Self::CrashInSnapshotInstall => strace && cluster.shape.entries_kept <= 20,
            Self::ClockJumpLeader | Self::ClockJumpAll | Self::ClockSkew => cluster.moves_clocks,
            _ => true,
        }
    }

    /// Whether the two may be done at the same time.
    pub fn goes_with(self, other: Self) -> bool {
        let families = [self.family(), other.family()];
        let has = |family| families.contains(&family);
        let all_stop = |kind| matches!(kind, Self::KillMajority | Self::KillAll | Self::PauseMajority);
        // A cluster that starts as a whole takes its time from a wall clock; that one must be right then.
        let loses_time = has(Family::Clock) && (all_stop(self) || all_stop(other));
        // These wait for the cluster to do something, so a majority of it must be able to.
        let waits = |kind: Self| {
            matches!(kind.family(), Family::Disk | Family::Membership) || kind == Self::RollingRestart
        };
        let leaves_in_peace = |kind: Self| matches!(kind.family(), Family::Links | Family::Clock);
        let in_peace = (!waits(self) || leaves_in_peace(other)) && (!waits(other) || leaves_in_peace(self));
        // A partition is drawn around a leader.
        let leaderless = has(Family::Partition) && (all_stop(self) || all_stop(other));
        self.family() != other.family() && !loses_time && in_peace && !leaderless
    }

    /// Does it. Whatever it leaves broken, [`Cluster::heal`] mends. Returns what was done to whom.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn inject(self, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
        match self.family() {
            Family::Process => process::inject(self, cluster, random).await,
            Family::Partition => partition::inject(self, cluster, random).await,
            Family::Links => links::inject(self, cluster, random).await,
            Family::Clock => clock::inject(self, cluster, random).await,
            Family::Disk => match self {
                Self::BitFlip | Self::Truncation => damage::inject(self, cluster, random).await,
                Self::CrashInSnapshotBuild | Self::CrashInSnapshotInstall | Self::CrashInPurge => {
                    snapshot::inject(self, cluster, random).await
                }
                _ => disk::inject(self, cluster, random).await,
            },
            Family::Membership => membership::inject(self, cluster, random).await,
        }
    }
}

/// Any node but the leader.
async fn a_follower(cluster: &Cluster, random: &mut fastrand::Rng) -> Result<usize, Failed> {
    let leader = cluster.wait_for_leader().await.ok_or("no leader")?;
    let others: Vec<usize> =
        (0..cluster.members.len()).filter(|i| *i != leader && cluster.members[*i].runs()).collect();
    random.choice(others).ok_or_else(|| "no follower runs".into())
}

/// So many different nodes, the leader not more likely than any other.
fn some(cluster: &Cluster, random: &mut fastrand::Rng, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..cluster.members.len()).collect();
    random.shuffle(&mut all);
    all.truncate(count);
    all
}

fn names(cluster: &Cluster, positions: &[usize]) -> String {
    let names: Vec<&str> = positions.iter().map(|i| cluster.members[*i].node.name.as_str()).collect();
    names.join(" ")
}
