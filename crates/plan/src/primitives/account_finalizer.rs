//! AccountFinalizer: posts what reaches it to the account (docs/plan-semantics.md section 2).

use crate::spec::{Role, Spec, charge_in};

pub(super) static SPEC: Spec = Spec {
    name: "AccountFinalizer",
    help: "Posts charges to the account.",
    inputs: &[charge_in("in")],
    outputs: &[],
    properties: &[],
    children: &[],
    role: Role::Posts,
    // A line is posted to the account unless something on its way says otherwise, and every charge
    // reaches a finalizer, which checking has seen to.
    build: |_, builder| builder.only_own("in"),
};
