//! The treatment of bytes in one direction.

use std::time::Duration;

/// A direction of bytes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// The treatment of bytes in one direction. The end of a connection is treated like its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Bytes pass.
    #[default]
    Pass,
    /// Bytes pass after this delay, as on a link of high latency and unchanged bandwidth.
    Delay(Duration),
    /// Bytes wait and none is lost, as in a short interruption after which TCP retransmits.
    Hold,
    /// Bytes are dropped while the connection stays open, as in an interruption that TCP does not
    /// survive. When bytes pass again, connections that lost some are reset.
    Vanish,
}

impl Flow {
    /// Whether bytes reach the other end.
    pub(crate) const fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::Delay(_))
    }
}
