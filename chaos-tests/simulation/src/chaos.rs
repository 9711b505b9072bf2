//! Draws faults and actions of operators from the seed. Each has a duration, and is undone at its
//! end.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use crate::database_link::LinkFault;
use crate::delayed_database::WriteDelay;

/// A fault with a duration.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A process is killed and its sockets are closed; it is started again at the end.
    Kill(String),
    /// A host loses its power: its sockets send nothing.
    PowerLoss(String),
    /// A process executes nothing, and its sockets stay open.
    Freeze(String),
    /// A process is asked to stop, and is started again at the end.
    Stop(String),
    /// No data is delivered from the first host to the second; if `true`, in neither direction.
    Hold(String, String, bool),
    /// A host reaches only the database.
    Isolate(String),
    /// Connections between two hosts break. (This fault has no duration.)
    Cut(String, String),
    /// The connection of a process to the database is disturbed.
    DatabaseLink(String, LinkFault),
    /// A node and a front reach only clients and each other: neither learns of a takeover.
    Island(String, String),
    /// The connections of all processes to the database are disturbed.
    AllDatabaseLinks(LinkFault),
    /// The database does not execute.
    FreezeDatabase,
    /// Appends wait between the check of their fence and their commit.
    PauseAppends,
    /// Statements are delayed before they are carried out.
    Late(WriteDelay),
    /// An operator pins a partition to a node.
    Pin(u32, String),
    /// An operator drains a node.
    Drain(String),
}

/// The names of the hosts.
#[derive(Clone, Debug)]
pub struct HostNames {
    /// The names of the nodes.
    pub nodes: Vec<String>,
    /// The names of the fronts.
    pub fronts: Vec<String>,
    /// The names of the clients.
    pub clients: Vec<String>,
    /// Number of partitions.
    pub partitions: u32,
}

/// The distribution of faults in a run, which differs from seed to seed.
#[derive(Clone, Debug)]
pub struct FaultDistribution {
    /// The kinds of faults that occur, numbered as in [`Self::fault`].
    kinds: Vec<u32>,
    /// The mean time between the starts of two faults.
    pause: Duration,
    /// The maximum duration of a fault; a [`Fault::Island`] may last twice as long.
    longest: Duration,
}

const KINDS: u32 = 16;

impl FaultDistribution {
    /// Draws the distribution.
    pub fn draw(chance: &mut StdRng) -> Self {
        let mut kinds: Vec<u32> = (0..KINDS).collect();
        kinds.shuffle(chance);
        kinds.truncate(chance.random_range(1..=KINDS as usize));
        let pause = Duration::from_millis(chance.random_range(60..1_200));
        let longest = Duration::from_millis(chance.random_range(200..4_000));
        Self { kinds, pause, longest }
    }

    /// Draws the time until the next fault.
    pub fn pause(&self, chance: &mut StdRng) -> Duration {
        self.pause.mul_f64(chance.random_range(0.0..2.0))
    }

    /// Draws a fault and its duration.
    pub fn fault(&self, chance: &mut StdRng, host_names: &HostNames) -> Option<(Fault, Duration)> {
        let lasts = self.longest.mul_f64(chance.random_range(0.02..1.0));
        let node = host_names.nodes.choose(chance)?.clone();
        let front = host_names.fronts.choose(chance)?.clone();
        let process = if chance.random_ratio(3, 4) { node.clone() } else { front.clone() };
        let fault = match *self.kinds.choose(chance)? {
            0 => Fault::Kill(process),
            1 => Fault::PowerLoss(process),
            2 => Fault::Freeze(process),
            3 => Fault::Stop(process),
            4 => {
                let (one, other) = host_names.pair(chance)?;
                Fault::Hold(one, other, chance.random_ratio(2, 3))
            }
            5 => Fault::Isolate(process),
            6 => {
                let (one, other) = host_names.pair(chance)?;
                Fault::Cut(one, other)
            }
            7 | 8 => Fault::DatabaseLink(process, link_fault(chance)),
            9 => Fault::AllDatabaseLinks(link_fault(chance)),
            10 => Fault::FreezeDatabase,
            11 => Fault::PauseAppends,
            12 => {
                let most_ms = chance.random_range(10..2_000);
                Fault::Late(WriteDelay { ratio: chance.random_range(10..300), most_ms })
            }
            13 | 14 => return Some((Fault::Island(node, front), lasts * 2)),
            _ if chance.random_bool(0.5) => {
                Fault::Pin(chance.random_range(1..=host_names.partitions), node)
            }
            _ => Fault::Drain(node),
        };
        Some((fault, lasts))
    }
}

fn link_fault(chance: &mut StdRng) -> LinkFault {
    match chance.random_range(0..4) {
        0 => LinkFault::Errors {
            before: chance.random_range(0..500),
            after: chance.random_range(0..500),
        },
        1 => LinkFault::Slow(chance.random_range(5..1_500)),
        2 => LinkFault::Cut,
        _ => LinkFault::Full,
    }
}

impl HostNames {
    /// Draws two hosts that may communicate with each other.
    fn pair(&self, chance: &mut StdRng) -> Option<(String, String)> {
        let node = self.nodes.choose(chance)?.clone();
        let front = self.fronts.choose(chance)?.clone();
        Some(match chance.random_range(0..4) {
            0 => (self.clients.choose(chance)?.clone(), front),
            1 => (node, self.nodes.choose(chance)?.clone()),
            _ => (front, node),
        })
    }

    /// All hosts.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.nodes.iter().chain(&self.fronts).chain(&self.clients)
    }
}
