//! What happens to bytes on their way.

use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connected to who listens.
    ToServer,
    /// From who listens to who connected.
    ToClient,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// What happens to bytes in one direction. The end of a connection is treated as its bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Pass,
    /// They pass, this much later: a long way, with no less room on it.
    Delay(Duration),
    /// They wait, and nothing is lost: a short cut, after which TCP sends again.
    Hold,
    /// They vanish while the connection lives: a cut that TCP does not survive. When bytes pass
    /// again, connections that lost some are reset.
    Vanish,
}

impl Flow {
    /// Do bytes come out at the other end?
    pub(crate) const fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::Delay(_))
    }
}
