//! The measures that a plan reads, and the topological order of its primitives.

use std::collections::BTreeSet;

use turnpike_plan::{Plan, Primitive};

pub(crate) fn measures_of(plan: &Plan) -> BTreeSet<String> {
    let links = plan.primitives().iter().flat_map(|p| &p.inputs).flat_map(|input| &input.links);
    links.filter(|link| link.is_source()).map(|link| link.port.clone()).collect()
}

/// The primitives in topological order, ties by document order: repeatedly, the first primitive
/// whose inputs come from primitives that are already in the order.
pub(crate) fn order_of(plan: &Plan) -> Vec<&Primitive> {
    let mut order: Vec<&Primitive> = Vec::new();
    while order.len() < plan.primitives().len() {
        let done = |id: &str| order.iter().any(|primitive| primitive.id == id);
        let ready = plan.primitives().iter().find(|primitive| {
            let mut links = primitive.inputs.iter().flat_map(|input| &input.links);
            !done(&primitive.id) && links.all(|link| link.is_source() || done(&link.from))
        });
        order.push(ready.unwrap());
    }
    order
}
