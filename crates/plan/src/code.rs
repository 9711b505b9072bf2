//! Object code: the form of a plan that a node runs for every record.

use std::fmt;

use jiff::civil::Date;
use turnpike_types::{Currency, Timestamp};

use crate::measure::Unit;
use crate::run::Op;
use crate::state::VariableId;
use crate::zone::{Zone, first_instant_of};

/// A compiled plan version: immutable, shared between tasks.
pub struct ObjectCode {
    pub(crate) plan_id: String,
    pub(crate) version: u32,
    pub(crate) starts: Date,
    pub(crate) currency: Currency,
    pub(crate) components: Vec<Component>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) accepts: Accepts,
    /// Names of the measures; the streams of the same places are fed by them.
    pub(crate) measures: Vec<Box<str>>,
    /// In topological order.
    pub(crate) ops: Vec<Box<dyn Op>>,
    pub(crate) streams: usize,
    pub(crate) traces: usize,
}

/// Something that charge lines can be for: a step of a rater, or a fixed charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The primitive's id.
    pub primitive: String,
    /// The step's id, or the charge's own.
    pub component: String,
    /// What sort of charge.
    pub kind: ComponentKind,
    /// The price as written, parameters filled in: `0.05 per 1 GB`, `10.00 once`,
    /// `20.00 per month`.
    pub price: String,
    /// What a line's quantity counts.
    pub unit: Unit,
    /// The accumulator whose total before and after the lines show.
    pub level: Option<VariableId>,
}

/// Sorts of charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// For units used (and a step's constant).
    Usage,
    /// Once per subscription.
    OneTime,
    /// Once per period.
    Recurring,
}

/// Something that a plan remembers about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name in the account's state.
    pub id: VariableId,
    /// The primitive's id; for a step's constant `rater/step`.
    pub primitive: String,
    /// What it counts; [`Unit::One`] for "charged already".
    pub unit: Unit,
}

/// Which usage types a plan takes (PLANS section 2).
#[derive(Clone, Debug)]
pub(crate) enum Accepts {
    /// Something other than a selector with an open rest stands at the source.
    Everything,
    /// Sorted.
    Types(Vec<Box<str>>),
}

impl ObjectCode {
    /// The plan's id.
    pub fn plan_id(&self) -> &str {
        &self.plan_id
    }

    /// The plan's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The first local date it rates.
    pub fn starts(&self) -> Date {
        self.starts
    }

    /// The first instant of [`ObjectCode::starts`] in an account's zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.starts)
    }

    /// The currency of all its lines.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// What lines can be for; [`Line::component`](crate::Line::component) is an index into it.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// What it remembers about an account.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Does it take records of this usage type? What it does not take passes to the account's
    /// next subscription.
    pub fn accepts(&self, usage_type: &str) -> bool {
        match &self.accepts {
            Accepts::Everything => true,
            Accepts::Types(types) => types.iter().any(|known| **known == *usage_type),
        }
    }
}

impl fmt::Debug for ObjectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectCode({} version {})", self.plan_id, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One compiled plan serves every owner task of a node.
    #[test]
    fn object_code_is_shared_between_tasks() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<ObjectCode>();
        fn moved<T: Send + 'static>() {}
        moved::<crate::Rater>();
    }
}
