//! Conversion of sorted networks to rows of a table. Adjacent networks of one location are merged.

use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use turnpike_types::limits::{TABLE_BYTES_MAX, TABLE_ROWS_MAX};

use super::table::{AddressTableHead, ImportError, Imported};

/// Returns `None` if `prefix` is longer than an address, or if `address` has bits set after the
/// prefix.
pub(super) fn network(address: IpAddr, prefix: u8) -> Option<IpNet> {
    IpNet::new(address, prefix).ok().filter(|network| *network == network.trunc())
}

/// Reads `192.0.2.0/24`.
pub(super) fn parse(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    network(address.parse().ok()?, prefix.parse().ok()?)
}

/// The network of twice the size of which this network is the lower half; `None` if this network is
/// an upper half, or the whole address range.
fn doubled(network: &IpNet) -> Option<IpNet> {
    network.supernet().filter(|outer| outer.addr() == network.addr())
}

/// The error of a network that starts before the end of the previous network.
#[derive(Debug)]
pub(super) struct OutOfOrder;

/// Writes the head of a table, then a row for each network after merging.
pub(super) struct TableWriter<W: Write> {
    out: BufWriter<W>,
    /// Networks with the same location that may still be merged with later networks. Each network
    /// is within the [`doubled`] of its predecessor.
    open: Vec<(IpNet, Rc<str>)>,
    /// The last address of the newest network, separately for IPv4 and IPv6; `None` before the
    /// first one.
    last: [Option<IpAddr>; 2],
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
        network: IpNet,
        location: Option<&Rc<str>>,
    ) -> Result<Result<(), OutOfOrder>, ImportError> {
        let [v4, v6] = &mut self.last;
        let last = if matches!(network, IpNet::V4(_)) { v4 } else { v6 };
        if last.is_some_and(|last| network.addr() <= last) {
            return Ok(Err(OutOfOrder));
        }
        *last = Some(network.broadcast());
        let Some(location) = location else {
            self.unplaced += 1;
            return Ok(Ok(()));
        };
        let goes_on = self.open.last().is_some_and(|(before, there)| {
            there == location && doubled(before).is_some_and(|outer| outer.contains(&network))
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
            let Some(both) = doubled(first).filter(|_| first.is_sibling(second)) else { return };
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
