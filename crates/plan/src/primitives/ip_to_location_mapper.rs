//! IptoLocationMapper: maps an IP address of the record to a location
//! (docs/plan-semantics.md section 8).

use std::net::IpAddr;

use turnpike_types::SuspenseReason;

use crate::compile::definition::Definition;
use crate::language::spec::{Role, Spec, Value, required, usage_in, usage_out, with_default};
use crate::language::table_name::TableKind;
use crate::machine::code::{DerivedAttribute, Evaluation, Op};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::places::{Attribute, TableRef, UsageInput};
use crate::machine::evaluation::refusal::Named;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "IptoLocationMapper",
        help: "Maps an IP address of the record to a location; other primitives read ID.location.",
        inputs: &[usage_in("in")],
        outputs: &[usage_out("out")],
        properties: &[
            required("table", Value::Id, "the id of the table of addresses"),
            with_default("address", Value::Attribute, "ip", "the attribute that holds the address"),
            with_default(
                "unknown",
                Value::Text,
                "unknown",
                "the location of addresses that are not in the table",
            ),
        ],
        children: &[],
        role: Role::Derives("location"),
    },
    build: |primitive, builder| {
        let address = builder.property(primitive, "address")?;
        let table = builder.property(primitive, "table")?;
        let location = Location {
            address: builder.attribute(primitive.line, "address", address)?,
            table: builder.table(TableKind::Addresses, table),
            unknown: builder.property(primitive, "unknown")?.into(),
        };
        builder.derives(location.clone());
        let op =
            IptoLocationMapper { location, input: builder.input("in"), out: builder.output("out") };
        builder.op(op);
        Ok(())
    },
};

#[derive(Clone)]
struct Location {
    address: Attribute,
    table: TableRef,
    unknown: Box<str>,
}

impl DerivedAttribute for Location {
    fn value<'a>(&'a self, run: &Evaluation<'a>) -> Result<&'a str, SuspenseReason> {
        // A charge that falls due without usage has no address, and must not be suspended for it.
        if *run.event != Event::Usage {
            return Ok(&self.unknown);
        }
        let text = run.attribute(&self.address)?.ok_or_else(|| run.lacks(&self.address))?;
        let address: IpAddr = text.trim().parse().map_err(|_| {
            let about = format_args!("{} {text:?} is no address", Named(&self.address));
            run.refuse(SuspenseReason::BadAttribute, about)
        })?;
        let table = run.table(self.table)?;
        let addresses = table.addresses().ok_or_else(|| run.without_table(self.table))?;
        Ok(addresses.location(address).unwrap_or(&self.unknown))
    }
}

struct IptoLocationMapper {
    location: Location,
    input: UsageInput,
    out: Option<usize>,
}

impl Op for IptoLocationMapper {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        // An invalid address is refused wherever units pass, even if no primitive reads the
        // location.
        let told = if stream.is_empty() { Ok(()) } else { self.location.value(run).map(drop) };
        if let Some(out) = self.out {
            run.scratch.streams[out].copy_from(&stream);
        }
        run.give(&self.input, stream);
        told
    }
}
