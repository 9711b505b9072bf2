//! Code generation: compiles a checked graph to object code. Streams are numbered first, then each
//! primitive builds its own code.
//!
//! ```text
//! build()        numbers streams and charge slots, then builds the primitives in topological order
//!   whole.rs     what belongs to the whole plan: accepted types, sums for comparing alternatives
//!   builder.rs   the interface that a primitive builds its code with:
//!     declare.rs   operations, derived attributes, tables, variables
//!     links.rs     streams, levels and derived attributes
//!     charges.rs   charge slots (buffers of lines), and the accounts whose charges they hold
//!     values.rs    properties: prices, amounts, components; an error for a wrong value
//! ```

mod builder;
mod charges;
mod declare;
mod links;
mod values;
mod whole;

use crate::compile::check::Checked;
use crate::compile::definition::Definition;
use crate::language::document::Document;
use crate::language::findings::Findings;
use crate::language::graph::Primitive;
use crate::language::spec::{Carries, InputSpec, OutputSpec};
use crate::machine::code::{Measure, NodeInfo, ObjectCode};
use crate::machine::evaluation::scratch::BufferCounts;

pub(crate) use builder::Builder;

use charges::charge_places;
use whole::{accepts, bonus_parts, tentative_parts};

/// Compiles a checked graph. Returns `None`, with the errors in `findings`, when a primitive
/// refuses its properties.
pub(crate) fn build(
    document: &Document,
    primitives: &[Primitive],
    checked: &Checked,
    definitions: &[&Definition],
    findings: &mut Findings,
) -> Option<ObjectCode> {
    let first = primitives.first()?;
    let measures = &checked.wiring.measures;
    let mut next = measures.len();
    let mut slot = || {
        next += 1;
        next - 1
    };
    // An output that carries no usage has no stream; its number 0 is never read.
    let mut slot_of = |output: &OutputSpec| match output.carries {
        Carries::Usage => slot(),
        Carries::Charge | Carries::Level => 0,
    };
    let nodes = checked.wiring.nodes.iter();
    let streams = nodes.map(|node| node.spec.outputs.iter().map(&mut slot_of).collect()).collect();
    let (charges, charge_places) = charge_places(checked);
    let mut components = Vec::new();
    let code = ObjectCode {
        plan_id: document.id.clone(),
        version: document.version,
        starts: document.starts,
        currency: document.currency,
        posts: checked.posts,
        tentative: tentative_parts(document, checked.posts, &mut components),
        bonus: bonus_parts(checked.posts, &mut components),
        components,
        variables: Vec::new(),
        accepts: accepts(primitives, checked),
        measures: measures.iter().map(|name| Measure::named(name)).collect(),
        ops: Vec::new(),
        buffers: BufferCounts {
            streams: next,
            measures: checked.flows.count,
            traces: 0,
            charges: charge_places,
        },
        derived: primitives.iter().map(|_| None).collect(),
        tables: Vec::new(),
        is_swept: false,
        due_by: Vec::new(),
        closes: false,
        nodes: Vec::new(),
    };
    let totals = vec![None; primitives.len()];
    let mut builder = Builder {
        document,
        checked,
        findings,
        place: 0,
        primitive: first,
        streams,
        charges,
        totals,
        code,
    };
    for &place in &checked.order {
        let Some((primitive, node)) = primitives.get(place).zip(checked.wiring.nodes.get(place))
        else {
            continue;
        };
        (builder.place, builder.primitive) = (place, primitive);
        let Some(definition) = definitions.iter().find(|known| known.spec.name == node.spec.name)
        else {
            unreachable!("{} is in the vocabulary and has no definition", node.spec.name);
        };
        // The error is already in `findings`. Continue, since later primitives may have errors too.
        let _refused = (definition.build)(primitive, &mut builder);
    }
    let nodes = primitives.iter().enumerate().map(|(at, p)| node_info(&builder, at, p)).collect();
    builder.code.nodes = nodes;
    let Builder { code, findings, .. } = builder;
    findings.clean().then_some(code)
}

/// The description of a primitive for traces.
fn node_info(builder: &Builder<'_>, place: usize, primitive: &Primitive) -> NodeInfo {
    let node = &builder.checked.wiring.nodes[place];
    let of = |carries| move |spec: &&'static InputSpec| spec.carries == carries;
    let inputs = node.spec.inputs.iter().filter(of(Carries::Usage));
    let outputs = node.spec.outputs.iter().zip(&node.takers).zip(&builder.streams[place]);
    let outputs =
        outputs.filter(|((spec, takers), _)| spec.carries == Carries::Usage && !takers.is_empty());
    NodeInfo {
        id: primitive.id.clone(),
        kind: node.spec.name,
        role: node.spec.role,
        line: primitive.line,
        inputs: inputs.map(|spec| (spec.name, builder.input_of(place, spec.name))).collect(),
        outputs: outputs.map(|((spec, _), &slot)| (spec.name, slot)).collect(),
    }
}
