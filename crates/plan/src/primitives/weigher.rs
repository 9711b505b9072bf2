//! Weigher: makes a unit as many as an attribute's value weighs (PLANS section 8).

use turnpike_types::SuspenseReason;

use crate::error::Cause;
use crate::run::{Attribute, Input, Op, Run};
use crate::spec::{ChildSpec, Role, Spec, Value, optional, required, usage_in, usage_out};
use crate::stream::Span;
use crate::values::whole;

pub(super) static SPEC: Spec = Spec {
    name: "Weigher",
    help: "Counts each unit as many as the value of an attribute weighs.",
    inputs: &[usage_in("in")],
    outputs: &[usage_out("out")],
    properties: &[
        required("attribute", Value::Attribute, "where the value stands that is weighed"),
        optional("default", Value::Whole, "the weight of every other value"),
    ],
    children: &[ChildSpec {
        name: "weight",
        at_least: 1,
        properties: &[
            required("value", Value::Text, "a value of the attribute"),
            required("weight", Value::Whole, "how many units one unit counts"),
        ],
        help: "what a value weighs",
    }],
    role: Role::Plain,
    build: |primitive, builder| {
        let mut weights: Vec<(Box<str>, i128)> = Vec::new();
        for child in &primitive.children {
            let value = builder.child_property(child, "value")?;
            let weight = builder.child_property(child, "weight")?;
            let weight = builder.read(child.line, "weight", whole(weight))?;
            weights.push((value.into(), weight.into()));
        }
        weights.sort();
        if let Some(pair) = weights.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let value = pair[0].0.clone();
            let again = primitive.children.iter().filter(|c| c.property("value") == Some(&value));
            let line = again.map(|child| child.line).next_back().unwrap_or(primitive.line);
            let message = format!("\"{value}\" has two weights: keep one");
            return Err(builder.refuse(line, Cause::DuplicateId, message));
        }
        let default = match primitive.property("default") {
            Some(text) => Some(builder.read(primitive.line, "default", whole(text))?.into()),
            None => None,
        };
        let attribute = builder.property(primitive, "attribute")?;
        let op = Weigher {
            attribute: builder.attribute(primitive.line, "attribute", attribute)?,
            weights,
            default,
            input: builder.input("in"),
            out: builder.output("out"),
        };
        builder.op(op);
        Ok(())
    },
};

struct Weigher {
    attribute: Attribute,
    /// Sorted by value.
    weights: Vec<(Box<str>, i128)>,
    default: Option<i128>,
    input: Input,
    out: Option<usize>,
}

impl Op for Weigher {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(out) = self.out
            && !stream.is_empty()
        {
            let weight = self.weight(run)?;
            let out = &mut run.scratch.streams[out];
            // What weighs nothing goes no further, not even as a first use.
            if weight > 0 {
                out.ghost = stream.ghost;
                for span in &stream.spans {
                    let copies = span.copies.checked_mul(weight).ok_or(SuspenseReason::Overflow)?;
                    let skip = span.skip.checked_mul(weight).ok_or(SuspenseReason::Overflow)?;
                    out.push(Span { copies, skip, ..*span });
                }
            }
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl Weigher {
    fn weight(&self, run: &Run<'_>) -> Result<i128, SuspenseReason> {
        let Some(value) = run.attribute(&self.attribute)? else {
            return self.default.ok_or(SuspenseReason::MissingInput);
        };
        match self.weights.binary_search_by(|(known, _)| (**known).cmp(value)) {
            Ok(found) => Ok(self.weights[found].1),
            Err(_) => self.default.ok_or(SuspenseReason::NoWeight),
        }
    }
}
