//! AccountFinalizer: posts incoming charges to the account (docs/plan-semantics.md section 2).

use crate::compile::definition::Definition;
use crate::language::spec::{Role, Spec, charge_in};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "AccountFinalizer",
        help: "Posts charges to the account.",
        inputs: &[charge_in("in")],
        outputs: &[],
        properties: &[],
        children: &[],
        role: Role::Posts,
    },
    // No operation is needed: a line is posted to the account by default, and the plan check has
    // verified that every charge reaches a finalizer.
    build: |_, builder| builder.only_own("in"),
};
