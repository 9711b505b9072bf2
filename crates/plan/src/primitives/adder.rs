//! Adder: groups charges without a change to their lines (docs/plan-semantics.md section 2).

use crate::compile::definition::Definition;
use crate::language::spec::{CHARGE_OUT, Role, Spec, charge_in};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "Adder",
        help: "Groups charges of one currency; their lines stay separate.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[],
        children: &[],
        role: Role::Gathers,
    },
    // The primitive that creates a line also books it, so an adder has nothing to do.
    build: |_, _| Ok(()),
};
