//! Ignore: takes what shall cost nothing and leave no line (docs/plan-semantics.md section 2).

use crate::run::{Input, Op, Run};
use crate::spec::{Role, Spec, usage_in};
use turnpike_types::SuspenseReason;

pub(super) static SPEC: Spec = Spec {
    name: "Ignore",
    help: "Takes usage that shall cost nothing and leave no line.",
    inputs: &[usage_in("in")],
    outputs: &[],
    properties: &[],
    children: &[],
    role: Role::Plain,
    build: |_, builder| {
        let op = Ignore { input: builder.input("in") };
        builder.op(op);
        Ok(())
    },
};

struct Ignore {
    input: Input,
}

impl Op for Ignore {
    /// Reads its input all the same, so that a missing measure is a missing input here too.
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        run.give(&self.input, stream);
        Ok(())
    }
}
