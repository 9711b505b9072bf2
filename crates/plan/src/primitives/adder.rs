//! Adder: gathers charges, which stay the lines they are (docs/plan-semantics.md section 2).

use crate::spec::{CHARGE_OUT, Role, Spec, charge_in};

pub(super) static SPEC: Spec = Spec {
    name: "Adder",
    help: "Groups charges of one currency; their lines stay apart.",
    inputs: &[charge_in("in")],
    outputs: &[CHARGE_OUT],
    properties: &[],
    children: &[],
    role: Role::Gathers,
    // Lines are booked where they arise; grouping them changes none.
    build: |_, _| Ok(()),
};
