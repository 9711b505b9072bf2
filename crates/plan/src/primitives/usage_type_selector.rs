//! UsageTypeSelector: passes records of the named types (docs/plan-semantics.md section 2).

use turnpike_types::SuspenseReason;

use crate::compile::definition::Definition;
use crate::language::spec::{
    Carries, MayBeUnconnected, OutputSpec, Role, Spec, Value, required, usage_in, usage_out,
};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{TypeOf, UsageInput};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "UsageTypeSelector",
        help: "Passes records of the named usage types; at the source, its rest may stay open.",
        inputs: &[usage_in("in")],
        outputs: &[
            usage_out("pass"),
            OutputSpec { name: "rest", carries: Carries::Usage, open: MayBeUnconnected::SourceFed },
        ],
        properties: &[required("types", Value::Types, "the usage types that pass")],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let types = builder.property(primitive, "types")?;
        let types: Box<[Box<str>]> = types.split_whitespace().map(Box::from).collect();
        // The plan was chosen by the record's usage type, so no further check of the type is
        // needed.
        if builder.type_of() == TypeOf::Record
            && builder.accepts_only(&types)
            && builder.share("in", "pass")
        {
            builder.op(PassAll { input: builder.input("in") });
            return Ok(());
        }
        let op = UsageTypeSelector {
            types,
            of: builder.type_of(),
            input: builder.input("in"),
            pass: builder.output("pass"),
            rest: builder.output("rest"),
        };
        builder.op(op);
        Ok(())
    },
};

/// All records of the plan pass, so the input is read and not copied.
struct PassAll {
    input: UsageInput,
}

impl Op for PassAll {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        run.read(&self.input)
    }
}

struct UsageTypeSelector {
    types: Box<[Box<str>]>,
    of: TypeOf,
    input: UsageInput,
    pass: Option<usize>,
    rest: Option<usize>,
}

impl Op for UsageTypeSelector {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let mut way = None;
        if self.of == TypeOf::Record {
            way = self.way(run)?;
            // The output has no consumer, so the input is not read: a record of another type may
            // lack the measure.
            if way.is_none() {
                return Ok(());
            }
        }
        run.read(&self.input)?;
        if let (Some(output), Some(span)) = (way, run.single(&self.input)) {
            run.put(Some(output), span);
            return Ok(());
        }
        let stream = run.take(&self.input)?;
        // The usage type is not derived for an empty input, because the record may lack the
        // attributes that it is derived from.
        if way.is_none() && !stream.is_empty() {
            way = self.way(run)?;
        }
        if let Some(output) = way {
            run.scratch.streams[output].copy_from(&stream);
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl UsageTypeSelector {
    /// The output for the record; `None` if that output has no consumer.
    fn way(&self, run: &Evaluation<'_>) -> Result<Option<usize>, SuspenseReason> {
        let usage_type = run.usage_type(self.of)?;
        let passes = self.types.iter().any(|known| **known == *usage_type);
        Ok(if passes { self.pass } else { self.rest })
    }
}
