//! The graph of a plan: primitives, their links and their properties.

use std::collections::BTreeMap;

/// A parameter, written `$id` in the plan; a subscription may override its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name of the parameter, without the dollar sign.
    pub id: String,
    /// The type: `money`, `quantity`, `count`, `time` or `text`.
    pub kind: String,
    /// The default value, as text.
    pub value: String,
    /// Line of the XML, from 1.
    pub line: u32,
}

/// A primitive, which is a node of the plan's graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primitive {
    /// The id, unique within the plan.
    pub id: String,
    /// The type: the element's name, such as `StepRater`.
    pub kind: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// The inputs, in the order of the type's declaration.
    pub inputs: Vec<Input>,
    /// The properties by name.
    pub properties: BTreeMap<String, String>,
    /// The elements within the primitive: steps, weights.
    pub children: Vec<Child>,
}

/// An input of a primitive, with the links into it in document order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The name of the port, such as `in`, `trigger` or `level`.
    pub port: String,
    /// The sources of the links.
    pub links: Vec<Link>,
}

/// The source of a link: an output port of a primitive, or a measure of the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The primitive's id, or `record` for a measure of the record.
    pub from: String,
    /// The port, or the name of the measure.
    pub port: String,
}

impl Link {
    /// Whether the source is a measure of the record.
    pub fn is_source(&self) -> bool {
        self.from == SOURCE
    }
}

/// The id by which links refer to the record.
pub(crate) const SOURCE: &str = "record";

/// An element within a primitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The name of the element, such as `step` or `weight`.
    pub kind: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// The properties by name.
    pub properties: BTreeMap<String, String>,
}

impl Primitive {
    /// The property's value as text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The links of an input; empty when it has none.
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
