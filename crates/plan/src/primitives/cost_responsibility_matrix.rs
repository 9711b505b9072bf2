//! CostResponsibilityMatrix: splits the charges of an access among its payers
//! (docs/plan-semantics.md sections 2 and 8).
//!
//! The rows are tried in order, and the first row whose conditions are met determines the payers. A
//! failed transfer has no payer, unless a row has a condition on its status.

use smallvec::SmallVec;
use turnpike_types::{LineKind, Money, Must, Posting, SuspenseReason};

use crate::compile::build::Builder;
use crate::compile::definition::Definition;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::spec::{
    Carries, ChildSpec, MayBeUnconnected, OTHERS, OutputSpec, PropertySpec, Role, Spec, Value,
    charge_in, optional, required, with_default,
};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, ChargeOut};
use crate::machine::lines::ChargeLine;

use super::parts::charges::{
    ACCOUNT, AccountRef, OWN, component, for_each_line, is_charge, line, money, replaced,
};
use super::parts::patterns::{PATTERN, STATUS, fits, is_failed, status_fits};
use super::parts::shares::{SHARES, apportion, read};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "CostResponsibilityMatrix",
        help: "Splits charges among parties, by source, target, status, role and cache.",
        inputs: &[charge_in("in")],
        outputs: &[
            OutputSpec {
                name: "own",
                carries: Carries::Charge,
                open: MayBeUnconnected::When(|p| !names(p, true)),
            },
            OutputSpec {
                name: OTHERS,
                carries: Carries::Charge,
                open: MayBeUnconnected::When(|p| !names(p, false)),
            },
        ],
        properties: &[
            stands("source", "source"),
            stands("target", "target"),
            stands("status", "status"),
            stands("role", "role"),
            stands("cache", "cache"),
            with_default(
                "failed",
                Value::Choice(&["nobody", "rows"]),
                "nobody",
                "the payer of a failed transfer: nobody, except by rows with a status; or as all rows say",
            ),
        ],
        children: &[
            ChildSpec {
                name: "party",
                at_least: 1,
                properties: &[
                    required("id", Value::Id, "the name of the party in shares"),
                    required(
                        "account",
                        ACCOUNT,
                        "an account number, an attribute that holds one, or self",
                    ),
                ],
                help: "a possible payer",
            },
            ChildSpec {
                name: "row",
                at_least: 1,
                properties: &[
                    optional("source", PATTERN, "the pattern that the source must match"),
                    optional("target", PATTERN, "the pattern that the target must match"),
                    optional(
                        "status",
                        STATUS,
                        "the pattern that the status must match, such as 2xx|304",
                    ),
                    optional("role", PATTERN, "the pattern that the role must match"),
                    optional("cache", PATTERN, "the pattern that the cache must match"),
                    required("shares", SHARES, "the payers and their weights, or nobody"),
                ],
                help: "the payers of charges that meet all conditions of this row and match no earlier row",
            },
        ],
        role: Role::Shares,
    },
    build,
};

const fn stands(name: &'static str, default: &'static str) -> PropertySpec {
    with_default(name, Value::Attribute, default, "the attribute that the rows compare")
}

/// The conditions of a row. A condition has the same index here and in [`Matrix::places`].
const CONDITIONS: [&str; 5] = ["source", "target", "status", "role", "cache"];
const STATUS_AT: usize = 2;

/// Whether a row names a party whose account is the record's own (`own`), or a party with another
/// account (not `own`).
fn names(primitive: &Primitive, own: bool) -> bool {
    let of = |kind| primitive.children.iter().filter(move |child| child.kind == kind);
    let is_it = |id: &str| {
        let mut parties = of("party").filter(|party| party.property("id") == Some(id));
        parties.any(|party| (party.property("account") == Some(OWN)) == own)
    };
    let mut rows = of("row").filter_map(|row| read(row.property("shares")?).ok());
    rows.any(|shares| shares.iter().any(|(party, _)| is_it(party)))
}

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> crate::compile::definition::Built {
    let parties = parties(primitive, builder)?;
    let rows = rows(primitive, &parties, builder)?;
    let asks_failed = primitive.property("failed") != Some("rows");
    let mut places: [Option<Attribute>; 5] = [const { None }; 5];
    for (at, (name, place)) in CONDITIONS.iter().zip(&mut places).enumerate() {
        let asked = rows.iter().any(|row| row.conditions.iter().any(|(of, _)| *of == at));
        if asked || (at == STATUS_AT && asks_failed) {
            let written = builder.property(primitive, name)?;
            *place = Some(builder.attribute(primitive.line, name, written)?);
        }
    }
    let op = Matrix {
        places,
        asks_failed,
        rows,
        parties: parties.into_iter().map(|(_, party)| party).collect(),
        step: 10i128.pow(Money::SCALE.saturating_sub(builder.digits())),
        slots: builder.charges("in"),
        own: builder.charge_out("own"),
        others: builder.charge_out(OTHERS),
    };
    builder.op(op);
    Ok(())
}

fn parties<'p>(
    primitive: &'p Primitive,
    builder: &mut Builder<'_>,
) -> Result<Vec<(&'p str, Party)>, Refused> {
    let mut parties: Vec<(&str, Party)> = Vec::new();
    for child in primitive.children.iter().filter(|child| child.kind == "party") {
        let id = builder.child_property(child, "id")?;
        let account = builder.child_property(child, "account")?;
        if parties.iter().any(|(known, _)| *known == id) {
            let message = format!("two parties have the id {id}: give each its own");
            return Err(builder.refuse(child.line, Cause::DuplicateId, message));
        }
        let account = AccountRef::read(builder, child.line, "account", account)?;
        let name = (primitive.id.as_str(), id);
        let price = format!("share of {id}");
        let component = component(builder, child.line, name, LineKind::Share, price)?;
        parties.push((id, Party { account, component }));
    }
    Ok(parties)
}

fn rows(
    primitive: &Primitive,
    parties: &[(&str, Party)],
    builder: &mut Builder<'_>,
) -> Result<Vec<Row>, Refused> {
    let mut rows = Vec::new();
    let mut everything_since = None;
    for child in primitive.children.iter().filter(|child| child.kind == "row") {
        if let Some(line) = everything_since {
            let message =
                format!("the row on line {line} matches everything, so this row is never used");
            builder.warn(child.line, message);
        }
        let row = row(child, parties, builder)?;
        if row.conditions.is_empty() {
            everything_since = everything_since.or(Some(child.line));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(
    child: &Child,
    parties: &[(&str, Party)],
    builder: &mut Builder<'_>,
) -> Result<Row, Refused> {
    let conditions = CONDITIONS.iter().enumerate().filter_map(|(at, name)| {
        let pattern = child.property(name)?;
        Some((at, Box::from(pattern)))
    });
    let written = builder.child_property(child, "shares")?;
    let mut shares = Vec::new();
    for (party, weight) in builder.read(child.line, "shares", read(written))? {
        let Some(place) = parties.iter().position(|(id, _)| *id == party) else {
            let message = format!(
                "shares: no party has the id {party}: write <party id=\"{party}\" account=\"...\"/>"
            );
            return Err(builder.refuse(child.line, Cause::UnknownReference, message));
        };
        shares.push((place, weight));
    }
    Ok(Row { conditions: conditions.collect(), shares })
}

struct Party {
    account: AccountRef,
    component: u16,
}

struct Row {
    /// The conditions of the row: indexes into [`CONDITIONS`], and patterns.
    conditions: Vec<(usize, Box<str>)>,
    /// The shares of the payers: indexes of parties, and weights. Empty if no party pays.
    shares: Vec<(usize, i128)>,
}

struct Matrix {
    /// The attributes that the conditions need, by their indexes in [`CONDITIONS`].
    places: [Option<Attribute>; 5],
    /// Whether a failed transfer has no payer unless a row has a condition on its status.
    asks_failed: bool,
    rows: Vec<Row>,
    parties: Vec<Party>,
    /// The plan's rounding step, in billionths.
    step: i128,
    slots: Box<[usize]>,
    own: ChargeOut,
    others: ChargeOut,
}

/// The payers: the index of the party, the posting of its lines, its weight.
type Payers = SmallVec<[(usize, Posting, i128); 4]>;

impl Op for Matrix {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        // The payers are determined with the first charge, so that a record without a charge needs
        // no party.
        let mut payers: Option<Payers> = None;
        for_each_line(run, &self.slots, |run, number| {
            if !is_charge(run, number)? {
                run.pass_on(self.own, number);
                return Ok(());
            }
            if payers.is_none() {
                payers = Some(self.payers(run)?);
            }
            self.share(run, number, payers.as_deref().must("they were read"))
        })
    }
}

/// The values of a record that the conditions compare, for a message.
struct Texts<'a>(&'a [Option<&'a str>; 5]);

impl std::fmt::Display for Texts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = CONDITIONS.iter().zip(self.0).filter_map(|(name, text)| Some((name, (*text)?)));
        let mut between = "";
        for (name, text) in known {
            write!(f, "{between}{name} {text:?}")?;
            between = ", ";
        }
        if between.is_empty() { f.write_str("a record without attributes") } else { Ok(()) }
    }
}

impl Matrix {
    fn payers(&self, run: &Evaluation<'_>) -> Result<Payers, SuspenseReason> {
        let mut texts: [Option<&str>; 5] = [None; 5];
        for (text, place) in texts.iter_mut().zip(&self.places) {
            if let Some(place) = place {
                *text = run.attribute(place)?;
            }
        }
        let shares = self
            .shares(&texts)
            .map_err(|reason| run.refuse(reason, format_args!("no row for {}", Texts(&texts))))?;
        let Some(shares) = shares else { return Ok(Payers::new()) };
        let payer = |&(party, weight): &(usize, i128)| {
            Ok((party, self.parties[party].account.posting(run)?, weight))
        };
        shares.iter().map(payer).collect()
    }

    /// The shares of the first row that matches; `None` if no party pays.
    fn shares(
        &self,
        texts: &[Option<&str>; 5],
    ) -> Result<Option<&[(usize, i128)]>, SuspenseReason> {
        let failed = self.asks_failed && texts[STATUS_AT].is_some_and(is_failed);
        let asks = |row: &&Row| row.conditions.iter().any(|(of, _)| *of == STATUS_AT);
        let mut rows = self.rows.iter().filter(|row| !failed || asks(row));
        match rows.find(|row| row.fits(texts)) {
            Some(row) if row.shares.is_empty() => Ok(None),
            Some(row) => Ok(Some(&row.shares)),
            None if failed => Ok(None),
            None => Err(SuspenseReason::NoParty),
        }
    }

    /// Replaces a line by the shares of the payers.
    fn share(
        &self,
        run: &mut Evaluation<'_>,
        number: u32,
        payers: &[(usize, Posting, i128)],
    ) -> Result<(), SuspenseReason> {
        if payers.is_empty() {
            if let Some(line) = run.lines.get_mut(number as usize) {
                line.posting = Posting::Nobody;
            }
            return Ok(());
        }
        let amount = line(run, number)?.amount.nanos();
        let weights = payers.iter().map(|(_, _, weight)| *weight);
        let amounts = apportion(amount, self.step, weights).ok_or(SuspenseReason::Overflow)?;
        for (&(party, posting, _), amount) in payers.iter().zip(amounts) {
            let Party { account, component } = &self.parties[party];
            let amount = money(Some(amount))?;
            let share = ChargeLine { posting, ..run.made_of(number, *component, amount) };
            let out = if *account == AccountRef::Own { self.own } else { self.others };
            run.book(out, share)?;
        }
        replaced(run, number);
        Ok(())
    }
}

impl Row {
    /// Whether the record meets all conditions of the row. A condition on an attribute that the
    /// record does not carry is not met.
    fn fits(&self, texts: &[Option<&str>; 5]) -> bool {
        self.conditions.iter().all(|(of, pattern)| {
            texts[*of].is_some_and(|text| match *of {
                STATUS_AT => status_fits(pattern, text),
                _ => fits(pattern, text),
            })
        })
    }
}
