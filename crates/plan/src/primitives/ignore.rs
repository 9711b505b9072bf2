//! Ignore: accepts usage that is free and produces no line (docs/plan-semantics.md section 2).

use crate::compile::definition::Definition;
use crate::language::spec::{Role, Spec, usage_in};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::UsageInput;
use turnpike_types::SuspenseReason;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "Ignore",
        help: "Accepts usage that is free and produces no line.",
        inputs: &[usage_in("in")],
        outputs: &[],
        properties: &[],
        children: &[],
        role: Role::Plain,
    },
    build: |_, builder| {
        let op = Ignore { input: builder.input("in") };
        builder.op(op);
        Ok(())
    },
};

struct Ignore {
    input: UsageInput,
}

impl Op for Ignore {
    /// Reads the input, so that a record without the measure is suspended here too.
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        run.give(&self.input, stream);
        Ok(())
    }
}
