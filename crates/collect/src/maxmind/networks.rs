//! Conversion of sorted networks to rows of a table. Adjacent networks of one location are merged.

use std::fmt;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use turnpike_types::limits::{TABLE_BYTES_MAX, TABLE_ROWS_MAX};

use super::table::{AddressTableHead, ImportError, Imported};

/// A network of IP addresses. An IPv4 address is in the low 32 bits of `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    start: u128,
    prefix: u8,
    /// The number of bits of an address: 32 for IPv4, 128 for IPv6.
    width: u8,
}

impl Network {
    /// Returns `None` if `prefix` is longer than an address, or if `address` has bits set after the
    /// prefix.
    pub(super) fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (start, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let network = Self { start, prefix, width };
        (prefix <= width && start & network.hosts() == 0).then_some(network)
    }

    /// Reads `192.0.2.0/24`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        Self::new(address.parse().ok()?, prefix.parse().ok()?)
    }

    /// The mask of the bits after the prefix.
    fn hosts(self) -> u128 {
        let bits = u32::from(self.width.saturating_sub(self.prefix));
        1u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1)
    }

    fn last(self) -> u128 {
        self.start | self.hosts()
    }

    /// The network of twice the size of which this network is the lower half; `None` if this
    /// network is an upper half, or the whole address range.
    fn doubled(self) -> Option<Self> {
        let outer = Self { prefix: self.prefix.checked_sub(1)?, ..self };
        (outer.start & outer.hosts() == 0).then_some(outer)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.start) {
            Ok(start) if self.width == 32 => Ipv4Addr::from_bits(start).fmt(f)?,
            _ => Ipv6Addr::from_bits(self.start).fmt(f)?,
        }
        write!(f, "/{}", self.prefix)
    }
}

/// The error of a network that starts before the end of the previous network.
#[derive(Debug)]
pub(super) struct OutOfOrder;

/// Writes the head of a table, then a row for each network after merging.
pub(super) struct TableWriter<W: Write> {
    out: BufWriter<W>,
    /// Networks with the same location that may still be merged with later networks. Each network
    /// is within the [`Network::doubled`] of its predecessor.
    open: Vec<(Network, Rc<str>)>,
    /// The last address of the newest network, separately for IPv4 and IPv6; `None` before the
    /// first one.
    last: [Option<u128>; 2],
    rows: usize,
    bytes: usize,
    unplaced: u64,
}

impl<W: Write> TableWriter<W> {
    pub(super) fn new(out: W, head: &AddressTableHead) -> Result<Self, ImportError> {
        let (out, last) = (BufWriter::new(out), [None; 2]);
        let mut writer = Self { out, open: Vec::new(), last, rows: 0, bytes: 0, unplaced: 0 };
        let AddressTableHead { id, version, starts, supersedes } = head;
        let older = supersedes.map_or(String::new(), |older| format!(" supersedes={older}"));
        writer.write(&format!(
            "# turnpike-table id={id} kind=addresses version={version} starts={starts}{older}\nnetwork,location\n"
        ))?;
        Ok(writer)
    }

    /// Adds the next network. If `location` is `None`, MaxMind has no country for the network, and
    /// the network is only counted.
    pub(super) fn take(
        &mut self,
        network: Network,
        location: Option<&Rc<str>>,
    ) -> Result<Result<(), OutOfOrder>, ImportError> {
        let [v4, v6] = &mut self.last;
        let last = if network.width == 32 { v4 } else { v6 };
        if last.is_some_and(|last| network.start <= last) {
            return Ok(Err(OutOfOrder));
        }
        *last = Some(network.last());
        let Some(location) = location else {
            self.unplaced += 1;
            return Ok(Ok(()));
        };
        let goes_on = self.open.last().is_some_and(|(before, there)| {
            let within = |outer: Network| network.start <= outer.last();
            there == location
                && before.width == network.width
                && before.doubled().is_some_and(within)
        });
        if !goes_on {
            // Neither the new network nor a later one can be merged with the open networks.
            self.flush()?;
        }
        self.open.push((network, Rc::clone(location)));
        self.merge();
        Ok(Ok(()))
    }

    /// Merges the last two networks while they are the two halves of one network.
    fn merge(&mut self) {
        while let [.., (first, _), (second, _)] = self.open.as_slice() {
            let Some(both) = first
                .doubled()
                .filter(|both| second.prefix == first.prefix && second.last() == both.last())
            else {
                return;
            };
            self.open.pop();
            if let Some((last, _)) = self.open.last_mut() {
                *last = both;
            }
        }
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        for (network, location) in std::mem::take(&mut self.open) {
            self.rows += 1;
            self.write(&format!("{network},{}\n", quoted(&location)))?;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), ImportError> {
        self.bytes += text.len();
        if self.rows > TABLE_ROWS_MAX || self.bytes > TABLE_BYTES_MAX {
            return Err(ImportError::TooLarge { rows: TABLE_ROWS_MAX, bytes: TABLE_BYTES_MAX });
        }
        Ok(self.out.write_all(text.as_bytes())?)
    }

    pub(super) fn finish(mut self) -> Result<Imported, ImportError> {
        self.flush()?;
        self.out.flush()?;
        if self.rows == 0 {
            return Err(ImportError::Empty);
        }
        Ok(Imported { rows: self.rows, bytes: self.bytes, unplaced: self.unplaced })
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
