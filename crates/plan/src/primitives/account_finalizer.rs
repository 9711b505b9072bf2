//! AccountFinalizer: posts what reaches it to the account (PLANS section 2).

use crate::spec::{Spec, charge_in};

pub(super) static SPEC: Spec = Spec {
    name: "AccountFinalizer",
    help: "Posts charges to the account.",
    inputs: &[charge_in("in")],
    outputs: &[],
    properties: &[],
    children: &[],
    // Every charge reaches a finalizer, which checking has seen to, and there is one account to
    // post to as yet: lines need no code of their own here.
    build: |_, _| Ok(()),
};
