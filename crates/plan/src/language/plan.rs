//! A plan that passed all checks.

use jiff::civil::Date;
use turnpike_types::{Currency, Timestamp};

use crate::calendar::zone::{Zone, first_instant_of};
use crate::language::document::Document;
use crate::language::example::Example;
use crate::language::findings::Warning;
use crate::language::graph::{Parameter, Primitive};
use crate::language::spec::Value;
use crate::language::table_name::TableName;
use crate::language::values;

/// The property of a primitive that names a reference table.
const TABLE: &str = "table";

/// A plan that was parsed and passed all checks. Values are as written; parameters and omitted
/// properties have their default values filled in.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) document: Document,
    pub(crate) primitives: Vec<Primitive>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) tables: Vec<TableName>,
}

impl Plan {
    /// The plan's id, the same for all its versions.
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// Whether the plan reads telephone numbers in the same way as the release that published it
    /// ([`crate::parse_published_earlier`]).
    pub fn has_unchecked_numbers(&self) -> bool {
        self.document.has_unchecked_numbers
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.document.version
    }

    /// The first local date that this version rates.
    pub fn starts(&self) -> Date {
        self.document.starts
    }

    /// The first instant of [`Plan::starts`] in an account's zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.starts())
    }

    /// The currency of the plan's prices.
    pub fn currency(&self) -> Currency {
        self.document.currency
    }

    /// Decimal digits to which a line's amount is rounded, half to even: 0 to 9.
    pub fn round_digits(&self) -> u32 {
        self.document.rounding.digits
    }

    /// Whether each line books the difference of rounded running totals, R(after) - R(before),
    /// instead of an amount that is rounded separately (docs/plan-semantics.md section 3).
    pub fn rounds_running(&self) -> bool {
        self.document.rounding.running
    }

    /// The name of the plan's state: plans with the same state name share accumulators by primitive
    /// id, so that a change from one plan to the other keeps the counts. Default: the plan's id.
    pub fn state(&self) -> &str {
        &self.document.state
    }

    /// The earlier version with the same start date that this version replaces.
    pub fn supersedes(&self) -> Option<u32> {
        self.document.supersedes
    }

    /// The name of the plan's state, as [`Plan::state`].
    pub fn state_of(&self) -> &str {
        &self.document.state
    }

    /// BLAKE3 hash of the canonical form: attributes sorted, comments included, layout excluded.
    pub fn content_hash(&self) -> [u8; 32] {
        self.document.content_hash
    }

    /// Whether the plan may convert into the currency in which the account is billed. If so,
    /// [`compile`](fn@crate::compile) needs that currency as the parameter
    /// [`ACCOUNT_CURRENCY`](crate::ACCOUNT_CURRENCY); other plans ignore the parameter.
    pub fn converts_to_account(&self) -> bool {
        // Reads the document as written, since the graph has default values filled in, and a
        // subscription may give another value for a parameter.
        self.document.primitives.iter().any(|primitive| {
            let Some(spec) = self.document.vocabulary.find(&primitive.kind) else { return false };
            let targets =
                spec.properties.iter().filter(|p| matches!(p.value, Value::TargetCurrency));
            let mut written = targets.filter_map(|property| primitive.property(property.name));
            written.any(|text| text == values::ACCOUNT || text.starts_with('$'))
        })
    }

    /// The reference tables that the plan reads with the default values of its parameters.
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// Whether the plan, with any values of its parameters, may read the reference table. The property
    /// `table` of every primitive names one; a parameter in its place may be any table's id.
    pub fn may_read_table(&self, id: &str) -> bool {
        let mut named = self.document.primitives.iter().filter_map(|one| one.property(TABLE));
        named.any(|table| table == id || table.starts_with('$'))
    }

    /// Warnings for the author to check before publishing.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The parameters that a subscription may override.
    pub fn parameters(&self) -> &[Parameter] {
        &self.document.parameters
    }

    /// The author's examples, in document order (docs/plan-semantics.md section 9).
    pub fn examples(&self) -> &[Example] {
        &self.document.examples
    }

    /// The graph's nodes in document order.
    pub fn primitives(&self) -> &[Primitive] {
        &self.primitives
    }

    /// The node with this id.
    pub fn primitive(&self, id: &str) -> Option<&Primitive> {
        self.primitives.iter().find(|primitive| primitive.id == id)
    }
}
