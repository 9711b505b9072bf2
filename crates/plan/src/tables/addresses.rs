//! Locations of networks (docs/plan-semantics.md section 8).

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use turnpike_types::Must;

use super::rows::{Column, Faults, Kind, Row, required};

const NETWORK: usize = 0;
const LOCATION: usize = 1;

/// Networks as ranges that do not overlap. Among nested networks the longest prefix applies.
#[derive(Debug)]
pub(crate) struct Addresses {
    locations: Vec<Box<str>>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// The start of each range, in order, and the index of its location; `None` outside all networks. A
/// range ends at the start of the next one.
#[derive(Debug)]
struct Ranges<T>(Vec<(T, Option<u32>)>);

impl<T: Copy + Ord> Ranges<T> {
    fn find(&self, address: T) -> Option<u32> {
        let after = self.0.partition_point(|(start, _)| *start <= address);
        self.0.get(after.checked_sub(1)?)?.1
    }
}

impl Addresses {
    /// The location of an address. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as IPv4.
    pub(crate) fn location(&self, address: IpAddr) -> Option<&str> {
        let found = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        };
        self.locations.get(usize::try_from(found?).ok()?).map(|location| &**location)
    }
}

/// Reads `192.0.2.0/24`, `2001:db8::/32`, or a single address. An IPv4-mapped IPv6 network becomes an
/// IPv4 network.
fn network(text: &str) -> Result<IpNet, String> {
    let wrong =
        || format!("\"{text}\" is not a network: write one such as 192.0.2.0/24 or 2001:db8::/32");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = IpNet::from(address).max_prefix_len();
    let prefix = match prefix {
        None => width,
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => return Err(wrong()),
        Some(text) => text.parse().map_err(|_| wrong())?,
    };
    let network = IpNet::new(address, prefix)
        .map_err(|_| format!("\"{text}\" has a prefix of {prefix} bits: write {width} at most"))?;
    let clean = network.trunc();
    if clean != network {
        return Err(format!("\"{text}\" has bits set after its prefix: write {clean}"));
    }
    Ok(without_mapping(network))
}

/// Converts an IPv4-mapped IPv6 network to an IPv4 network.
fn without_mapping(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    match (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => Ipv4Net::new_assert(address, prefix).into(),
        _ => network,
    }
}

/// The bits of an address; those of an IPv4 address are the lowest 32.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A network, the index of its location, and its line in the file. Networks are ordered by address,
/// and an outer network comes before the networks within it.
type Placed = (IpNet, u32, u32);

/// The rows in the order of reading.
#[derive(Debug)]
pub(super) struct Rows {
    networks: Vec<Placed>,
    locations: HashMap<Box<str>, u32>,
}

impl Kind for Rows {
    const COLUMNS: &'static [Column] = &[required("network"), required("location")];
    type Content = Addresses;

    fn with_room_for(rows: usize) -> Self {
        Self { networks: Vec::with_capacity(rows), locations: HashMap::new() }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let network = row.read(NETWORK, network)?;
        let location = row.cell(LOCATION);
        let next = u32::try_from(self.locations.len()).must("a table has fewer than 2^32 rows");
        let location = match self.locations.get(location) {
            Some(&known) => known,
            None => *self.locations.entry(location.into()).or_insert(next),
        };
        self.networks.push((network, location, row.line));
        Ok(0)
    }

    fn finish(self, faults: &mut Faults) -> Addresses {
        let mut networks = self.networks;
        networks.sort_unstable_by_key(|&(network, _, line)| (network, line));
        let (v4, v6): (Vec<Placed>, Vec<Placed>) =
            networks.into_iter().partition(|(network, ..)| matches!(network, IpNet::V4(_)));
        for networks in [&v4, &v6] {
            faults.refuse_doubles(
                networks,
                |(a, ..), (b, ..)| a == b,
                |&(.., line)| line,
                |(network, ..)| format!("network {network}"),
            );
        }
        let mut locations: Vec<(Box<str>, u32)> = self.locations.into_iter().collect();
        locations.sort_unstable_by_key(|&(_, index)| index);
        let narrow = |(start, location)| Some((u32::try_from(start).ok()?, location));
        Addresses {
            locations: locations.into_iter().map(|(location, _)| location).collect(),
            v4: Ranges(flatten(&v4, u128::from(u32::MAX)).into_iter().filter_map(narrow).collect()),
            v6: Ranges(flatten(&v6, u128::MAX)),
        }
    }
}

/// Converts sorted networks to ranges that do not overlap. `max` is the last possible address.
fn flatten(networks: &[Placed], max: u128) -> Vec<(u128, Option<u32>)> {
    let mut flat = Flat { ranges: Vec::new(), max };
    // The last address and location of the networks around the current address, outermost first.
    let mut open: Vec<(u128, u32)> = Vec::new();
    for &(network, location, _) in networks {
        while let Some(&(last, _)) = open.last()
            && last < bits(network.network())
        {
            open.pop();
            flat.after(last, open.last().map(|&(_, outer)| outer));
        }
        flat.from(bits(network.network()), Some(location));
        open.push((bits(network.broadcast()), location));
    }
    while let Some((last, _)) = open.pop() {
        flat.after(last, open.last().map(|&(_, outer)| outer));
    }
    flat.ranges
}

struct Flat {
    ranges: Vec<(u128, Option<u32>)>,
    max: u128,
}

impl Flat {
    /// Sets the location from `start` on.
    fn from(&mut self, start: u128, location: Option<u32>) {
        while self.ranges.last().is_some_and(|(same, _)| *same == start) {
            self.ranges.pop();
        }
        if self.ranges.last().is_none_or(|(_, before)| *before != location) {
            self.ranges.push((start, location));
        }
    }

    /// Sets the location after `last`.
    fn after(&mut self, last: u128, location: Option<u32>) {
        if last < self.max {
            self.from(last + 1, location);
        }
    }
}
