//! SecondAccountFinalizer: posts incoming charges to other accounts instead of the record's account
//! (docs/plan-semantics.md section 2).

use turnpike_types::SuspenseReason;

use crate::compile::definition::Definition;
use crate::language::findings::Cause;
use crate::language::spec::{Role, Spec, charge_in, optional};
use crate::machine::code::{Evaluation, Op};

use super::parts::charges::{ACCOUNT, AccountRef, for_each_line};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "SecondAccountFinalizer",
        help: "Posts charges to another account, or to the accounts of the parties that share them.",
        inputs: &[charge_in("in")],
        outputs: &[],
        properties: &[optional(
            "account",
            ACCOUNT,
            "its number, or an attribute that holds it; without it, each charge's party pays",
        )],
        children: &[],
        role: Role::PostsElsewhere,
    },
    build: |primitive, builder| {
        let Some(written) = primitive.property("account") else {
            if builder.charge_origins("in").own {
                let message = "in: the account's own charges come in, and no account is named to pay them: write account=\"...\", or link only the port others of a CostResponsibilityMatrix";
                return Err(builder.refuse(primitive.line, Cause::WrongAccount, message));
            }
            // Without the property `account`, the lines keep their postings, which the primitive
            // that derived them has set.
            return Ok(());
        };
        let op = SecondAccountFinalizer {
            account: AccountRef::read(builder, primitive.line, "account", written)?,
            slots: builder.charges("in"),
        };
        builder.op(op);
        Ok(())
    },
};

struct SecondAccountFinalizer {
    account: AccountRef,
    slots: Box<[usize]>,
}

impl Op for SecondAccountFinalizer {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        for_each_line(run, &self.slots, |run, number| {
            let posting = self.account.posting(run)?;
            if let Some(line) = run.lines.get_mut(number as usize) {
                line.posting = posting;
            }
            Ok(())
        })
    }
}
