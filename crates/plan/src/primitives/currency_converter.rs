//! CurrencyConverter: converts charges to another currency, at the rate of their date
//! (docs/plan-semantics.md section 3).

use turnpike_types::{Currency, LineKind, SuspenseReason};

use crate::compile::definition::Definition;
use crate::language::price::half_even;
use crate::language::spec::{CHARGE_OUT, Role, Spec, Value, charge_in, required};
use crate::language::table_name::TableKind;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{ChargeOut, TableRef};
use crate::machine::lines::ChargeLine;

use super::parts::charges::{beside, component, for_each_line, instant, is_charge, line, replaced};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "CurrencyConverter",
        help: "Converts charges to another currency, at the rate in force at the record's start.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            required(
                "to",
                Value::TargetCurrency,
                "the currency; account means the currency of the account",
            ),
            required("table", Value::Text, "the id of the table of exchange rates"),
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let (at, id) = (primitive.line, primitive.id.as_str());
        let table = builder.property(primitive, "table")?;
        let price = format!("rate of {table}");
        let op = CurrencyConverter {
            to: builder.charged(),
            table: builder.table(TableKind::ExchangeRates, table),
            component: component(builder, at, (id, id), LineKind::Conversion, price)?,
            digits: builder.digits(),
            slots: builder.charges("in"),
            out: builder.charge_out("charge"),
        };
        builder.op(op);
        Ok(())
    },
};

struct CurrencyConverter {
    to: Currency,
    table: TableRef,
    component: u16,
    digits: u32,
    slots: Box<[usize]>,
    out: ChargeOut,
}

impl Op for CurrencyConverter {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        for_each_line(run, &self.slots, |run, number| self.convert(run, number))
    }
}

impl CurrencyConverter {
    fn convert(&self, run: &mut Evaluation<'_>, number: u32) -> Result<(), SuspenseReason> {
        if !is_charge(run, number)? {
            run.pass_on(self.out, number);
            return Ok(());
        }
        let from = line(run, number)?;
        let amount = from.amount.nanos();
        let known = run.code.components.get(usize::from(from.component));
        let currency = known.map_or(self.to, |component| component.currency);
        if currency == self.to {
            run.pass_on(self.out, number);
            return Ok(());
        }
        let at = instant(run);
        let date = run.scratch.calendar.date(at);
        let table = run.table(self.table)?.exchange_rates();
        let table = table.ok_or_else(|| run.without_table(self.table))?;
        let row = table.rate(currency, self.to, date).ok_or_else(|| {
            let to = self.to;
            run.refuse(SuspenseReason::NoRate, format_args!("{currency}->{to} on {date}"))
        })?;
        // A decimal has at most 27 digits, so this cannot overflow.
        let bottom = 10i128.pow(row.rate.scale);
        let converted = half_even(amount, row.rate.digits, bottom, self.digits);
        let converted = converted.ok_or(SuspenseReason::Overflow)?;
        let converted = beside(run, number, self.component, converted)?;
        run.book(self.out, ChargeLine { row: Some(row.index), ..converted })?;
        replaced(run, number);
        Ok(())
    }
}
