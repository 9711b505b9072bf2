//! The accounts, sources and consumers that a request may name.

use std::sync::Arc;

use crate::roles::grant::RoleGrant;

/// The accounts, sources and consumers that a request may name.
#[derive(Clone, Debug)]
pub(crate) enum PermitScope {
    /// All.
    Everything,
    /// Those of one of these grants, of which there is at least one.
    Grants(Arc<[RoleGrant]>),
}

impl PermitScope {
    /// Whether everything is in reach, or `covers` holds for a grant.
    pub(crate) fn any(&self, covers: impl Fn(&RoleGrant) -> bool) -> bool {
        match self {
            Self::Everything => true,
            Self::Grants(grants) => grants.iter().any(covers),
        }
    }
}
