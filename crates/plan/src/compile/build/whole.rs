//! Parts of the object code that belong to the whole plan, not to one primitive.

use turnpike_types::{Currency, LineKind, Must};

use crate::compile::check::{Checked, LinkSource};
use crate::language::document::Document;
use crate::language::graph::Primitive;
use crate::language::measure::Unit;
use crate::language::spec::MayBeUnconnected;
use crate::machine::code::{Accepts, BonusParts, Component, TentativeParts};
use crate::machine::state::{Keep, VariableId};

/// The components and variables for a comparison of alternatives. Every plan has them, because any
/// plan may become an alternative.
pub(super) fn tentative_parts(
    document: &Document,
    posts: Currency,
    components: &mut Vec<Component>,
) -> TentativeParts {
    let mut component = |name: &str, price: &str| {
        components.push(Component {
            primitive: "option".to_owned(),
            component: name.to_owned(),
            kind: LineKind::Option,
            price: price.to_owned(),
            unit: Unit::One,
            level: None,
            currency: posts,
        });
        number_of_last(components)
    };
    let (sum, one_time) = (
        component("sum", "sum of its trial lines"),
        component("one-time", "sum of its one-time lines"),
    );
    let fee = component("fee", "fee per billing cycle");
    // These names end in a slash, so they differ from every name of a primitive or step.
    let derive = |name, keep| VariableId::derive(&document.id, name, Unit::One, keep);
    TentativeParts {
        running: derive("trial/", Keep::Horizon),
        once: derive("trial-once/", Keep::Horizon),
        state: VariableId::derive(&document.state, "state/", Unit::One, Keep::Ever),
        closed: derive("closed/", Keep::Ever),
        sum,
        one_time,
        fee,
    }
}

fn number_of_last(components: &[Component]) -> u16 {
    u16::try_from(components.len() - 1).must("there are few more than COMPONENTS_MAX components")
}

/// The components for bonus offsets. Every plan has them, because any plan may be in force when a
/// bonus is carried into the next cycle.
pub(super) fn bonus_parts(posts: Currency, components: &mut Vec<Component>) -> BonusParts {
    let mut component = |name: &str, price: &str| {
        components.push(Component {
            primitive: "bonus-offset".to_owned(),
            component: name.to_owned(),
            kind: LineKind::Bonus,
            price: price.to_owned(),
            unit: Unit::One,
            level: None,
            currency: posts,
        });
        number_of_last(components)
    };
    BonusParts {
        credits: Vec::new(),
        is_own: false,
        forward: component("bonus-carried-forward", "what bonuses exceed the cycle's charges by"),
        brought: component("bonus-brought-forward", "what is left of the cycle before"),
        lapsed: component("bonus-lapsed", "what is left when the last subscription has ended"),
    }
}

/// The usage types that the primitives linked to the record accept
/// (docs/plan-semantics.md section 2).
pub(super) fn accepts(primitives: &[Primitive], checked: &Checked) -> Accepts {
    let mut types: Vec<Box<str>> = Vec::new();
    for (primitive, node) in primitives.iter().zip(&checked.wiring.nodes) {
        let fed = node.inputs.iter().flatten().any(|end| matches!(end, LinkSource::Source(_)));
        if !fed {
            continue;
        }
        let outputs = node.spec.outputs.iter().zip(&node.takers);
        let open = |(output, takers): (&crate::language::spec::OutputSpec, &Vec<usize>)| {
            matches!(output.open, MayBeUnconnected::SourceFed) && takers.is_empty()
        };
        match primitive.property("types") {
            Some(taken) if outputs.into_iter().any(open) => {
                types.extend(taken.split_whitespace().map(Box::from));
            }
            _ => return Accepts::Everything,
        }
    }
    types.sort();
    types.dedup();
    Accepts::Types(types)
}
