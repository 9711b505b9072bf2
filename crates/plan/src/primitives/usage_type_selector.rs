//! UsageTypeSelector: passes records of the types it names (PLANS section 2).

use turnpike_types::SuspenseReason;

use crate::run::{Input, Op, Run, TypeOf};
use crate::spec::{Carries, Open, OutputSpec, Role, Spec, Value, required, usage_in, usage_out};

pub(super) static SPEC: Spec = Spec {
    name: "UsageTypeSelector",
    help: "Passes records of the named usage types; fed by the record, its rest may stay open.",
    inputs: &[usage_in("in")],
    outputs: &[
        usage_out("pass"),
        OutputSpec { name: "rest", carries: Carries::Usage, open: Open::SourceFed },
    ],
    properties: &[required("types", Value::Words, "the usage types that pass")],
    children: &[],
    role: Role::Plain,
    build: |primitive, builder| {
        let types = builder.property(primitive, "types")?;
        let op = UsageTypeSelector {
            types: types.split_whitespace().map(Box::from).collect(),
            of: builder.type_of(),
            input: builder.input("in"),
            pass: builder.output("pass"),
            rest: builder.output("rest"),
        };
        builder.op(op);
        Ok(())
    },
};

struct UsageTypeSelector {
    types: Box<[Box<str>]>,
    of: TypeOf,
    input: Input,
    pass: Option<usize>,
    rest: Option<usize>,
}

impl Op for UsageTypeSelector {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let usage_type = run.usage_type(self.of)?;
        let passes = self.types.iter().any(|known| **known == *usage_type);
        // Nothing is read that nobody takes: a record of another type need not have our measure.
        let Some(output) = (if passes { self.pass } else { self.rest }) else {
            return Ok(());
        };
        if let Some(span) = run.single(&self.input)? {
            run.put(Some(output), span);
            return Ok(());
        }
        let stream = run.take(&self.input)?;
        run.scratch.streams[output].copy_from(&stream);
        run.give(&self.input, stream);
        Ok(())
    }
}
