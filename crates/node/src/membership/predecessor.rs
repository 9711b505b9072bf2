//! The process that wrote the last heartbeat under this node's name (P11).
//!
//! Two live processes under one name would supersede each other for as long as a supervisor
//! restarts them. So a starting node writes no heartbeat before its predecessor has ended:
//!
//! ```text
//!  no heartbeat of this name, or the last one is a goodbye   -> start at once
//!  the counter stands still for four intervals               -> start (it was killed, or hangs)
//!  ... for two, and its address refuses connections          -> start
//!  the counter advances for four intervals                   -> NameInUse: this process ends
//! ```
//!
//! Silence counts between this process's own successful reads only (P10). The time between two
//! reads counts for one interval at most, so a stall of the database shows no silence. A
//! refused connection alone proves nothing, since a firewall may refuse it.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use turnpike_mutants::{Check, off};
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::WatchRequest;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_store::{NodeBeat, NodeRow, StoreError, StoreResult, TopologyStore};
use turnpike_types::{Incarnation, NodeName};

use super::peers::is_refused;
use crate::NodeConfig;

/// The number of advances of the counter that prove that a process is alive. Fewer prove nothing,
/// since a killed process may have left heartbeats in flight.
const ADVANCES_MIN: u32 = 3;

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The shared database refused an operation, or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process writes heartbeats under this name (P11).
    #[error(
        "another process runs as node {node}, at {address}: its heartbeat went on for {} ms while \
         this one waited. Give this process another name, or stop the other one first",
        watched.as_millis()
    )]
    NameInUse {
        /// The node's name.
        node: NodeName,
        /// The address at which fronts reach the other process.
        address: String,
        /// How long its heartbeat was watched.
        watched: Duration,
    },
}

/// Waits until the predecessor has ended or is silent.
///
/// # Errors
/// [`StartError::NameInUse`] if it is still running; [`StartError::Store`] if the database fails.
pub(crate) async fn wait_for_end(
    config: &NodeConfig,
    db: &dyn TopologyStore,
    dial: &Dial,
) -> Result<(), StartError> {
    let Some(beat) = last_beat(config, db).await? else { return Ok(()) };
    tracing::info!(
        node = %config.name,
        incarnation = %beat.incarnation,
        address = beat.address,
        "an earlier process used this node's name: waiting until it has ended"
    );
    let mut leaves_address = Box::pin(has_left_its_address(config, dial, beat.address.clone()));
    let mut is_absent = None;
    let mut watch = Watch::new(&beat, Instant::now());
    let mut looks = tokio::time::interval(config.heartbeat / 4);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            absent = &mut leaves_address, if is_absent.is_none() => is_absent = Some(absent),
        }
        let Some(beat) = last_beat(config, db).await? else { return Ok(()) };
        let is_absent = is_absent.unwrap_or(false);
        let sight = watch.note(config, &beat, is_absent, Instant::now());
        if sight == Sight::Alive && !off(Check::LivePredecessor) {
            return Err(StartError::NameInUse {
                node: config.name.clone(),
                address: beat.address,
                watched: watch.since.elapsed(),
            });
        }
        if sight != Sight::Unclear {
            return Ok(());
        }
    }
}

/// The last heartbeat under this name, unless it is a goodbye.
async fn last_beat(config: &NodeConfig, db: &dyn TopologyStore) -> StoreResult<Option<NodeBeat>> {
    let nodes = db.observe().await?.nodes;
    let row = nodes.into_iter().find(|row| row.beat.node == config.name);
    Ok(row.map(|NodeRow { beat, .. }| beat).filter(|beat| !beat.is_goodbye()))
}

/// Whether the predecessor's address refuses connections. `true` for this node's own address, since
/// this process listens there by now.
async fn has_left_its_address(config: &NodeConfig, dial: &Dial, address: String) -> bool {
    if address == config.address {
        return true;
    }
    let Ok(channel) = dial.channel(&address) else { return false };
    let request = WatchRequest { watcher: config.name.to_string() };
    let mut node = NodeServiceClient::new(channel);
    let asked = tokio::time::timeout(config.suspicion(), node.watch(request)).await;
    matches!(asked, Ok(Err(status)) if is_refused(&status))
}

/// The result of one more read of the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Unclear,
    Silent,
    Alive,
}

/// The result of the reads of the heartbeat so far.
struct Watch {
    incarnation: Incarnation,
    counter: u64,
    since: Instant,
    last_read: Instant,
    silent: Duration,
    advances: u32,
}

impl Watch {
    fn new(beat: &NodeBeat, now: Instant) -> Self {
        Self {
            incarnation: beat.incarnation,
            counter: beat.counter,
            since: now,
            last_read: now,
            silent: Duration::ZERO,
            advances: 0,
        }
    }

    fn note(
        &mut self,
        config: &NodeConfig,
        beat: &NodeBeat,
        is_absent: bool,
        now: Instant,
    ) -> Sight {
        let since = now - self.last_read;
        let counted = if !off(Check::ReadGaps) { since.min(config.heartbeat) } else { since };
        self.last_read = now;
        if beat.incarnation != self.incarnation {
            // A third process took over the name: the watch starts again.
            *self = Self { since: self.since, ..Self::new(beat, now) };
            return Sight::Unclear;
        }
        if beat.counter != self.counter {
            self.counter = beat.counter;
            self.silent = Duration::ZERO;
            self.advances = self.advances.saturating_add(1);
        } else {
            self.silent += counted;
        }
        let suspicion = config.suspicion();
        let silence = match is_absent {
            true => suspicion / 2,
            false => suspicion,
        };
        if self.silent >= silence {
            Sight::Silent
        } else if self.advances >= ADVANCES_MIN && now - self.since >= suspicion {
            Sight::Alive
        } else {
            Sight::Unclear
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use turnpike_mutants::all_caught;

    const BEAT: Duration = Duration::from_millis(250);

    fn beat(incarnation: u64, counter: u64) -> NodeBeat {
        NodeBeat {
            node: NodeName("a".to_owned()),
            incarnation: Incarnation(incarnation),
            counter,
            address: "a:1".to_owned(),
            draining: false,
            serving: Vec::new(),
            following: Vec::new(),
        }
    }

    /// The result of a watch with reads `every` apart, and when it ends. `counter_at` gives the
    /// counter.
    fn watched(
        every: Duration,
        is_absent: bool,
        counter_at: impl Fn(Duration) -> u64,
    ) -> (Sight, Duration) {
        let config = NodeConfig { heartbeat: BEAT, ..NodeConfig::default() };
        let begin = Instant::now();
        let mut watch = Watch::new(&beat(1, counter_at(Duration::ZERO)), begin);
        for look in 1..1000 {
            let after = every * look;
            let sight = watch.note(&config, &beat(1, counter_at(after)), is_absent, begin + after);
            if sight != Sight::Unclear {
                return (sight, after);
            }
        }
        panic!("the watch never ends");
    }

    fn beats(each: Duration) -> impl Fn(Duration) -> u64 {
        move |after| u64::try_from(after.as_micros() / each.as_micros()).unwrap()
    }

    #[test]
    fn p11_a_constant_counter_is_silent_after_four_intervals_or_two_without_a_listener() {
        assert_eq!(watched(BEAT / 4, false, |_| 7), (Sight::Silent, BEAT * 4));
        assert_eq!(watched(BEAT / 4, true, |_| 7), (Sight::Silent, BEAT * 2));
    }

    #[test]
    fn p11_a_counter_that_advances_is_alive_after_four_intervals_with_or_without_a_listener() {
        for is_absent in [false, true] {
            let (sight, after) = watched(BEAT / 4, is_absent, beats(BEAT));
            assert_eq!((sight, after), (Sight::Alive, BEAT * 4), "{is_absent}");
        }
        let (sight, after) = watched(BEAT / 4, false, beats(BEAT * 3));
        assert_eq!(sight, Sight::Alive, "heartbeats that a slow database delays are not silence");
        assert!(after < BEAT * 12, "{after:?}");
    }

    #[test]
    fn p11_a_beat_that_a_killed_process_left_on_its_way_is_no_sign_of_life() {
        let late = |after: Duration| u64::from(after > BEAT * 3);
        let (sight, after) = watched(BEAT / 4, false, late);
        assert_eq!(sight, Sight::Silent);
        assert!(after <= BEAT * 8, "{after:?}");
    }

    #[test]
    fn p10_a_frozen_database_counts_as_no_silence() {
        // One read, ten seconds without any, and then a heartbeat in each interval.
        let gap = Duration::from_secs(10);
        let config = NodeConfig { heartbeat: BEAT, ..NodeConfig::default() };
        let begin = Instant::now();
        let mut watch = Watch::new(&beat(1, 1), begin);
        assert_eq!(watch.note(&config, &beat(1, 1), true, begin + gap), Sight::Unclear);
        for (number, counter) in (1..4).zip(2..) {
            let now = begin + gap + BEAT * number;
            let sight = watch.note(&config, &beat(1, counter), true, now);
            assert_ne!(sight, Sight::Silent, "{number}");
        }
    }

    #[test]
    fn p11_a_third_process_under_the_name_is_watched_from_its_beginning() {
        let config = NodeConfig { heartbeat: BEAT, ..NodeConfig::default() };
        let begin = Instant::now();
        let mut watch = Watch::new(&beat(1, 1), begin);
        assert_eq!(watch.note(&config, &beat(1, 1), false, begin + BEAT), Sight::Unclear);
        assert_eq!(watch.note(&config, &beat(2, 1), false, begin + BEAT * 2), Sight::Unclear);
        assert_eq!(watch.silent, Duration::ZERO);
        assert_eq!((watch.incarnation, watch.advances), (Incarnation(2), 0));
    }

    #[test]
    fn mutants_are_caught() {
        all_caught(&[(Check::ReadGaps, "p10_a_frozen_database_counts_as_no_silence", "Silent")]);
    }
}
