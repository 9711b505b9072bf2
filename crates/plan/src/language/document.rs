//! A plan as written: the document's head, parameters, primitives and examples.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use turnpike_types::Currency;

use crate::language::example::Example;
use crate::language::graph::{Parameter, Primitive};
use crate::language::measure::Unit;
use crate::language::spec::Vocabulary;
use crate::language::values::Rounding;

/// A plan as written, with parameters not yet filled in.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The primitive types that the plan may use.
    pub(crate) vocabulary: &'static Vocabulary,
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) starts: Date,
    pub(crate) currency: Currency,
    pub(crate) rounding: Rounding,
    /// The name of the plan's state: plans with the same state name share variables by primitive
    /// id.
    pub(crate) state: String,
    pub(crate) supersedes: Option<u32>,
    pub(crate) parameters: Vec<Parameter>,
    /// The units that the plan declares for measures.
    pub(crate) measures: BTreeMap<String, DeclaredUnit>,
    /// Whether this version was published before. If so, a violation of a newer rule is a warning,
    /// not an error.
    pub(crate) is_published: bool,
    /// Whether this version was published by a release that did not check telephone numbers by
    /// country.
    pub(crate) has_unchecked_numbers: bool,
    pub(crate) primitives: Vec<Primitive>,
    /// Ids of primitives of an unknown type: links to them are not reported as errors.
    pub(crate) unread: BTreeSet<String>,
    pub(crate) examples: Vec<Example>,
    pub(crate) content_hash: [u8; 32],
}

/// The unit of a measure, and the line that declares it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeclaredUnit {
    pub(crate) unit: Unit,
    pub(crate) line: u32,
}
