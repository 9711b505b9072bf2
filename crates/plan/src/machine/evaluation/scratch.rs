//! Buffers that a rater reuses.

use super::places::{Counted, StepPortion};
use super::refusal::LastRefusal;
use crate::calendar::periods::Calendar;
use crate::machine::slots::Slots;
use crate::machine::stream::{Stream, UnitFlow};

/// The numbers of buffers that a plan's code needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferCounts {
    pub(crate) streams: usize,
    /// The number of measures: those of the record, and one for each `UsageIncrement`, which
    /// creates a rounded-up measure.
    pub(crate) measures: usize,
    pub(crate) traces: usize,
    /// The number of charge slots (buffers of lines): one for each output whose charges another
    /// primitive reads.
    pub(crate) charges: usize,
}

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
    /// Resizes and clears the buffers for a plan's counts.
    pub(crate) fn prepare(&mut self, counts: &BufferCounts) {
        if self.streams.len() < counts.streams {
            self.streams.resize_with(counts.streams, Stream::default);
        }
        if self.traces.len() < counts.traces {
            self.traces.resize_with(counts.traces, Vec::new);
        }
        let streams = &mut self.streams;
        self.used.for_each(streams.len(), |slot| streams[slot].clear());
        // After a refused record, streams that are not in `used` may hold units, so all streams are
        // marked as used.
        self.used = Slots::ALL;
        self.traces.iter_mut().for_each(Vec::clear);
        self.loaded = 0;
        if self.flows.len() < counts.measures {
            self.flows.resize(counts.measures, UnitFlow::default());
        }
        if self.charges.len() < counts.charges {
            self.charges.resize_with(counts.charges, Vec::new);
        }
        self.charges.iter_mut().for_each(Vec::clear);
    }
}
