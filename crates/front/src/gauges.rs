//! Gauges that count what exists: streams, partition senders, pending sub-batches.

/// Adds 1 to a gauge, and subtracts 1 when the guard is dropped.
#[derive(Debug)]
pub(crate) struct GaugeGuard(metrics::Gauge);

impl GaugeGuard {
    /// Counts an open client stream.
    pub(crate) fn stream() -> Self {
        Self::up(metrics::gauge!("turnpike_front_streams"))
    }

    /// Counts an open partition sender.
    pub(crate) fn sender() -> Self {
        Self::up(metrics::gauge!("turnpike_front_lanes"))
    }

    /// Counts a sub-batch in a partition sender that has no answer yet, whether it was sent or not.
    pub(crate) fn pending() -> Self {
        Self::up(metrics::gauge!("turnpike_front_lane_pending_batches"))
    }

    fn up(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
