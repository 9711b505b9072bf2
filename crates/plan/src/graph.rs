//! The public graph of a plan: what its author wrote, checked, with parameters filled in.

use std::collections::BTreeMap;

use jiff::civil::Date;
use turnpike_types::{Currency, Timestamp};

use crate::code::TableName;
use crate::document::Document;
use crate::error::Warning;
use crate::example::Example;
use crate::primitives;
use crate::spec::Value;
use crate::values;
use crate::zone::{Zone, first_instant_of};

/// A plan that was parsed and found to be sound. Values are as written, with the parameters'
/// defaults filled in and omitted properties at their defaults.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) document: Document,
    pub(crate) primitives: Vec<Primitive>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) tables: Vec<TableName>,
}

/// A value that a subscription may override, `$id` in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, without the dollar sign.
    pub id: String,
    /// `money`, `quantity`, `count`, `time` or `text`.
    pub kind: String,
    /// The default, as written.
    pub value: String,
    /// Line of the XML, from 1.
    pub line: u32,
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primitive {
    /// Unique within the plan.
    pub id: String,
    /// The type: the element's name, such as `StepRater`.
    pub kind: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// What feeds it, in the order of the type's declaration.
    pub inputs: Vec<Input>,
    /// Its properties by name.
    pub properties: BTreeMap<String, String>,
    /// The elements it holds: steps, weights.
    pub children: Vec<Child>,
}

/// An input of a primitive with its links, in document order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// `in`, `trigger` or `level`.
    pub port: String,
    /// Where it comes from.
    pub links: Vec<Link>,
}

/// One end of a link: a primitive's output port, or a measure of the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The primitive's id, or `record` for the source.
    pub from: String,
    /// The port, or the measure's name.
    pub port: String,
}

impl Link {
    /// Does the link come from the record itself?
    pub fn is_source(&self) -> bool {
        self.from == SOURCE
    }
}

/// The id that stands for the record.
pub(crate) const SOURCE: &str = "record";

/// An element within a primitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// `step` or `weight`.
    pub kind: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// Its properties by name.
    pub properties: BTreeMap<String, String>,
}

impl Primitive {
    /// The property's value as text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The links of an input; none when it is not connected.
    pub fn links(&self, port: &str) -> &[Link] {
        let found = self.inputs.iter().find(|input| input.port == port);
        found.map_or(&[], |input| &input.links)
    }
}

impl Child {
    /// The property's value as text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }
}

impl Plan {
    /// The plan's id, the same for all its versions.
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.document.version
    }

    /// The first local date it rates.
    pub fn starts(&self) -> Date {
        self.document.starts
    }

    /// The first instant of [`Plan::starts`] in an account's zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.starts())
    }

    /// The currency of all its amounts.
    pub fn currency(&self) -> Currency {
        self.document.currency
    }

    /// Decimals that a line's amount is rounded to, half to even: 0 to 9.
    pub fn round_digits(&self) -> u32 {
        self.document.rounding.digits
    }

    /// Do lines book the difference of rounded running totals, R(after) - R(before), instead of
    /// being rounded each by itself (docs/plan-semantics.md section 3)?
    pub fn rounds_running(&self) -> bool {
        self.document.rounding.running
    }

    /// Whose state it carries on: plans of the same name share accumulators by primitive id, so
    /// that a change from one to the other keeps its counts. By default the plan's own id.
    pub fn state(&self) -> &str {
        &self.document.state
    }

    /// The version that this one replaces although both start on the same date.
    pub fn supersedes(&self) -> Option<u32> {
        self.document.supersedes
    }

    /// Whose state it carries on: the plan's own id unless its author said another.
    pub fn state_of(&self) -> &str {
        &self.document.state
    }

    /// BLAKE3 of the canonical form: attributes in order, comments kept, layout left out.
    pub fn content_hash(&self) -> [u8; 32] {
        self.document.content_hash
    }

    /// May it convert into the currency that the account is billed in? [`compile`](crate::compile)
    /// must then be told, by [`ACCOUNT_CURRENCY`](crate::ACCOUNT_CURRENCY), which one that is; told
    /// to a plan that does not ask, it changes nothing.
    pub fn converts_to_account(&self) -> bool {
        // As written: the graph's own nodes have it filled in. What a subscription writes for a
        // parameter, nobody knows yet.
        self.document.primitives.iter().any(|primitive| {
            let Some(spec) = primitives::find(&primitive.kind) else { return false };
            let targets =
                spec.properties.iter().filter(|p| matches!(p.value, Value::TargetCurrency));
            let mut written = targets.filter_map(|property| primitive.property(property.name));
            written.any(|text| text == values::ACCOUNT || text.starts_with('$'))
        })
    }

    /// The reference tables that it reads, as far as its parameters do not name others.
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// What its author should look at before publishing.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What a subscription may override.
    pub fn parameters(&self) -> &[Parameter] {
        &self.document.parameters
    }

    /// What its author says that usage must come to, in document order
    /// (docs/plan-semantics.md section 9).
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
