//! Buffers that a rater reuses.

use super::{Counted, LastRefusal, StepPortion};
use crate::calendar::periods::Calendar;
use crate::machine::code::{ObjectCode, Slots};
use crate::machine::stream::{Stream, UnitFlow};

/// Buffers that are reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) streams: Vec<Stream>,
    /// Streams that may hold units.
    pub(crate) used: Slots,
    /// The measures that were read from the record, one bit each.
    pub(super) loaded: u64,
    pub(super) flows: Vec<UnitFlow>,
    pub(crate) traces: Vec<Vec<Counted>>,
    pub(crate) parts: Vec<StepPortion>,
    pub(super) merged: Stream,
    pub(super) other: Stream,
    pub(super) charges: Vec<Vec<u32>>,
    pub(super) gathered: Vec<u32>,
    pub(crate) calendar: Calendar,
    /// The detail of the last refusal.
    pub(crate) about: LastRefusal,
}

impl Scratch {
    /// Resizes and clears the buffers for a plan's code.
    pub(crate) fn prepare(&mut self, code: &ObjectCode) {
        if self.streams.len() < code.streams {
            self.streams.resize_with(code.streams, Stream::default);
        }
        if self.traces.len() < code.traces {
            self.traces.resize_with(code.traces, Vec::new);
        }
        let streams = &mut self.streams;
        self.used.for_each(streams.len(), |slot| streams[slot].clear());
        // After a refused record, streams that are not in `used` may hold units, so all streams are
        // marked as used.
        self.used = Slots::ALL;
        self.traces.iter_mut().for_each(Vec::clear);
        self.loaded = 0;
        if self.flows.len() < code.counts {
            self.flows.resize(code.counts, UnitFlow::default());
        }
        if self.charges.len() < code.charges {
            self.charges.resize_with(code.charges, Vec::new);
        }
        self.charges.iter_mut().for_each(Vec::clear);
    }
}
