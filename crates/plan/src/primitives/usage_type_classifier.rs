//! UsageTypeClassifier: sets the usage type of records by rules (docs/plan-semantics.md section 8).
//!
//! Units pass unchanged. A downstream primitive that reads their usage type, such as a
//! UsageTypeSelector, gets the type that the rules determine.

use turnpike_types::SuspenseReason;

use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::spec::{
    ChildSpec, Role, Spec, Value, ValueType, optional, required, usage_in, usage_out,
};
use crate::language::values::SEPARATORS;
use crate::machine::code::{DerivedAttribute, Evaluation, Op};
use crate::machine::evaluation::places::{TypeOf, UsageInput};

use super::parts::rule::{Condition, Rule, Test, measured};

/// A limit on a measure. The measure can differ from the measure of the flow, so its unit can
/// differ too.
static LIMIT: ValueType = ValueType {
    name: "quantity",
    check: |text| crate::language::measure::Quantity::parse(text).map(drop),
};

/// A usage type is one word, because selectors list types as words.
static TYPE: ValueType = ValueType {
    name: "type",
    check: |text| match text.split_whitespace().eq([text]) {
        true => Ok(()),
        false => Err(format!("\"{text}\" is not a usage type: write one word")),
    },
};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "UsageTypeClassifier",
        help: "Sets the type of usage by the first rule that holds, or else to the default.",
        inputs: &[usage_in("in")],
        outputs: &[usage_out("out")],
        properties: &[required("default", Value::Of(&TYPE), "the type if no rule holds")],
        children: &[ChildSpec {
            name: "rule",
            at_least: 1,
            properties: &[
                required("as", Value::Of(&TYPE), "the type if all conditions of the rule hold"),
                optional("type", Value::Types, "holds if the type so far is one of these"),
                optional(
                    "attribute",
                    Value::Attribute,
                    "a text, which is compared with is or like",
                ),
                optional("is", Value::Words, "holds if the text is one of these words"),
                optional(
                    "like",
                    Value::Text,
                    "holds if the text matches this pattern: * is any text, ? one character",
                ),
                optional(
                    "measure",
                    Value::Text,
                    "a measure, duration or quantity, which is compared with above and upto",
                ),
                optional("above", Value::Of(&LIMIT), "holds if the value is more than this"),
                optional("upto", Value::Of(&LIMIT), "holds if the value is at most this"),
            ],
            help: "a type and the conditions for it",
        }],
        role: Role::Relabels,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let mut rules: Vec<(Rule, u32)> = Vec::with_capacity(primitive.children.len());
    let mut refused = None;
    for child in &primitive.children {
        let Ok(rule) = rule(child, builder) else {
            refused = Some(Refused);
            continue;
        };
        if let Some((_, line)) = rules.iter().find(|(earlier, _)| earlier.covers(&rule)) {
            let message = format!(
                "no record reaches this rule: the rule on line {line} matches first: order them, or take one out"
            );
            refused = Some(builder.refuse(child.line, Cause::NothingPasses, message));
        }
        rules.push((rule, child.line));
    }
    refused.map_or(Ok(()), Err)?;
    if rules.iter().any(|(rule, _)| rule.conditions.is_empty()) {
        let message = "one rule matches every record, so the default is never used";
        builder.warn(primitive.line, message);
    }
    let classes = Classes {
        rules: rules.into_iter().map(|(rule, _)| rule).collect(),
        default: builder.property(primitive, "default")?.into(),
        of: builder.type_of(),
    };
    builder.derives(classes);
    builder.op(UsageTypeClassifier { input: builder.input("in"), out: builder.output("out") });
    Ok(())
}

fn rule(child: &Child, builder: &mut Builder<'_>) -> Result<Rule, Refused> {
    let mut conditions = Vec::new();
    if let Some(types) = child.property("type") {
        conditions.push(Condition::Type(words(types)));
    }
    let value = (child.property("is"), child.property("like"));
    match (child.property("attribute"), value) {
        (None, (None, None)) => {}
        (Some(name), (Some(is), None)) => {
            if let Some(word) = is.split_whitespace().find(|word| word.contains(SEPARATORS)) {
                let message = format!(
                    "is: \"{word}\" is one word, and is compared with the whole value: write spaces between words"
                );
                builder.warn(child.line, message);
            }
            let attribute = builder.attribute(child.line, "attribute", name)?;
            conditions.push(Condition::Attribute(attribute, Test::Is(words(is))));
        }
        (Some(name), (None, Some(like))) => {
            let attribute = builder.attribute(child.line, "attribute", name)?;
            conditions.push(Condition::Attribute(attribute, Test::Like(like.into())));
        }
        (Some(_), (None, None)) => {
            return Err(unfinished(child, builder, "attribute: write is or like beside it"));
        }
        (Some(_), (Some(_), Some(_))) => {
            let message = "attribute: write is or like, not both";
            return Err(builder.refuse(child.line, Cause::BadValue, message));
        }
        (None, _) => {
            return Err(unfinished(child, builder, "is, like: write attribute=\"...\" beside it"));
        }
    }
    let limits = (child.property("above"), child.property("upto"));
    match (child.property("measure"), limits) {
        (None, (None, None)) => {}
        (None, _) => {
            return Err(unfinished(child, builder, "above, upto: write measure=\"...\" beside it"));
        }
        (Some(_), (None, None)) => {
            return Err(unfinished(child, builder, "measure: write above, upto or both beside it"));
        }
        (Some(name), (above, upto)) => {
            conditions.push(measured(builder, child.line, name, above, upto)?);
        }
    }
    let name = builder.child_property(child, "as")?.into();
    Ok(Rule { name, conditions: conditions.into() })
}

fn unfinished(child: &Child, builder: &mut Builder<'_>, message: &str) -> Refused {
    builder.refuse(child.line, Cause::MissingProperty, message)
}

fn words(text: &str) -> Box<[Box<str>]> {
    text.split_whitespace().map(Box::from).collect()
}

struct Classes {
    rules: Box<[Rule]>,
    default: Box<str>,
    of: TypeOf,
}

impl DerivedAttribute for Classes {
    fn value<'a>(&'a self, run: &Evaluation<'a>) -> Result<&'a str, SuspenseReason> {
        for rule in &self.rules {
            if rule.holds(run, self.of)? {
                return Ok(&rule.name);
            }
        }
        Ok(&self.default)
    }
}

struct UsageTypeClassifier {
    input: UsageInput,
    out: Option<usize>,
}

impl Op for UsageTypeClassifier {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(out) = self.out {
            run.scratch.streams[out].copy_from(&stream);
        }
        run.give(&self.input, stream);
        Ok(())
    }
}
