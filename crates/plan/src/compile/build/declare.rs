//! What a primitive declares for the object code: operations, derived attributes, tables,
//! variables.

use super::builder::Builder;
use crate::calendar::periods::Calendared;
use crate::language::findings::{Cause, Refused};
use crate::language::measure::Unit;
use crate::language::spec::Carries;
use crate::language::table_name::{TableKind, TableName};
use crate::machine::code::{DerivedAttribute, Op, Placed, Variable};
use crate::machine::evaluation::places::{TableRef, Total};
use crate::machine::meaning::{Holds, Meaning, Per};
use crate::machine::slots::Slots;
use crate::machine::state::{Keep, VariableId};

impl Builder<'_> {
    /// Adds the operation that the primitive runs for each record.
    pub(crate) fn op(&mut self, op: impl Op + 'static) {
        let node = &self.checked.wiring.nodes[self.place];
        let ends = node.spec.inputs.iter().zip(&node.inputs);
        let usage = ends.filter(|(spec, _)| spec.carries == Carries::Usage);
        let mut reads = Slots::default();
        usage.flat_map(|(_, ends)| ends).for_each(|end| reads.add(self.slot(end)));
        let reads_charges = node.spec.inputs.iter().any(|i| i.carries == Carries::Charge);
        if reads_charges || reads == Slots::default() {
            reads = Slots::ALL;
        }
        let outputs = node.spec.outputs.iter().zip(&self.streams[self.place]);
        let mut fills = Slots::default();
        let usage = outputs.filter(|(spec, _)| spec.carries == Carries::Usage);
        usage.for_each(|(_, &slot)| fills.add(slot));
        self.code.ops.push(Placed { node: self.place, op: Box::new(op), reads, fills });
    }

    /// Declares that the primitive derives an attribute from each record.
    pub(crate) fn derives(&mut self, attribute: impl DerivedAttribute + 'static) {
        self.code.derived[self.place] = Some(Box::new(attribute));
    }

    /// Declares that charges of this primitive fall due without usage.
    pub(crate) fn is_swept(&mut self) {
        self.code.is_swept = true;
    }

    /// Declares a variable that determines when the next charge falls due: a change of its value
    /// may move due dates.
    pub(crate) fn is_due_by(&mut self, variable: VariableId) {
        self.code.due_by.push(variable);
    }

    /// Declares that the primitive acts when a billing cycle closes.
    pub(crate) fn closes(&mut self) {
        self.code.closes = true;
    }

    /// Declares a component that grants bonuses. `is_own` is whether it may grant them to the
    /// account itself.
    pub(crate) fn grants(&mut self, component: u16, is_own: bool) {
        self.code.bonus.credits.push(component);
        self.code.bonus.is_own |= is_own;
    }

    /// A reference to a reference table. Adds the table to the list of tables that the plan reads.
    pub(crate) fn table(&mut self, kind: TableKind, id: &str) -> TableRef {
        let name = TableName { kind, id: id.to_owned() };
        let known = self.code.tables.iter().position(|known| *known == name);
        TableRef(known.unwrap_or_else(|| {
            self.code.tables.push(name);
            self.code.tables.len() - 1
        }))
    }

    /// Declares a variable that counts units, for this primitive or, if `step` is given, for one of
    /// its steps.
    pub(crate) fn variable(
        &mut self,
        step: Option<&str>,
        unit: Unit,
        keep: Keep,
    ) -> Result<VariableId, Refused> {
        let per = if keep == Keep::Intervals { Per::Interval } else { Per::Date };
        self.remember(step, unit, keep, Meaning::new(Holds::Units, per))
    }

    /// As [`Builder::variable`], for a variable whose values have another meaning.
    pub(crate) fn remember(
        &mut self,
        step: Option<&str>,
        unit: Unit,
        keep: Keep,
        meaning: Meaning,
    ) -> Result<VariableId, Refused> {
        let id = &self.primitive.id;
        let primitive = step.map_or_else(|| id.clone(), |step| format!("{id}/{step}"));
        let id = VariableId::derive(&self.document.state, &primitive, unit, keep);
        if let Some(other) = self.code.variables.iter().find(|known| known.id == id) {
            let message = format!(
                "its state has the same key as that of \"{}\": choose another id",
                other.primitive
            );
            return Err(self.refuse(self.primitive.line, Cause::DuplicateId, message));
        }
        self.code.variables.push(Variable { id, primitive, unit, meaning });
        Ok(id)
    }

    /// Declares that the primitive is an accumulator, whose total other primitives may read.
    pub(crate) fn accumulator(&mut self, calendared: Calendared) -> Result<Total, Refused> {
        let variable = self.variable(None, self.unit(), Keep::Horizon)?;
        let counts = match *self.input("in").slots {
            [slot] => Some(slot),
            _ => None,
        };
        let total = Total { trace: self.code.buffers.traces, variable, calendared, counts };
        self.code.buffers.traces += 1;
        self.totals[self.place] = Some(total);
        Ok(total)
    }
}
