//! The types of primitives as data, for people and editors that choose one.

use serde::Serialize;

use super::ALL;
use crate::spec::{
    Carries, ChildSpec, InputSpec, Need, Open, OutputSpec, PropertySpec, Role, Spec, Value,
};

/// A type of primitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrimitiveType {
    /// The element's name.
    pub name: &'static str,
    /// What sort of primitive: `filter`, `accumulator`, `usage`, `rater`, `charge`, `charges`,
    /// `finalizer`.
    pub category: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Attributes that hold links.
    pub inputs: Vec<InputType>,
    /// Ports that others link to.
    pub outputs: Vec<OutputType>,
    /// Attributes that hold values.
    pub properties: Vec<PropertyType>,
    /// Elements that it holds.
    pub children: Vec<ChildType>,
    /// The attribute that it gives a record, read as `ID.NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tells: Option<&'static str>,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputType {
    /// Its name.
    pub name: &'static str,
    /// What it takes: `usage`, `charge` or `level`.
    pub carries: &'static str,
    /// Must something be linked to it?
    pub required: bool,
    /// May it hold several links, which merge?
    pub many: bool,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputType {
    /// Its name.
    pub name: &'static str,
    /// What leaves by it: `usage`, `charge` or `level`.
    pub carries: &'static str,
    /// May nothing take it? `never`, `always`, `at-the-source`, or `when-nothing-flows`.
    pub may_stay_open: &'static str,
}

/// A property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PropertyType {
    /// Its name.
    pub name: &'static str,
    /// The word for its syntax: `money`, `quantity`, `choice`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The words to choose from.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub choices: &'static [&'static str],
    /// Must it be written?
    pub required: bool,
    /// What it is when it is not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<&'static str>,
    /// What it says, in one line.
    pub help: &'static str,
}

/// An element that a primitive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChildType {
    /// Its name.
    pub name: &'static str,
    /// How many there must be.
    pub at_least: usize,
    /// Its attributes.
    pub properties: Vec<PropertyType>,
    /// What it says, in one line.
    pub help: &'static str,
}

/// Every type of primitive of this version, in the order in which they are registered.
pub fn primitive_types() -> Vec<PrimitiveType> {
    ALL.iter().map(|spec| described(spec)).collect()
}

fn described(spec: &Spec) -> PrimitiveType {
    PrimitiveType {
        name: spec.name,
        category: category(spec),
        help: spec.help,
        inputs: spec.inputs.iter().map(input).collect(),
        outputs: spec.outputs.iter().map(output).collect(),
        properties: spec.properties.iter().map(property).collect(),
        children: spec.children.iter().map(child).collect(),
        tells: match spec.role {
            Role::Tells(name) => Some(name),
            _ => None,
        },
    }
}

/// By its ports: what comes in, and what goes out.
fn category(spec: &Spec) -> &'static str {
    let takes = |carries| spec.inputs.iter().any(|i| i.carries == carries && i.required);
    let gives = |carries| spec.outputs.iter().filter(move |o| o.carries == carries).count();
    match (gives(Carries::Usage), gives(Carries::Charge)) {
        (0, 0) => "finalizer",
        (0, _) if takes(Carries::Charge) => "charges",
        (_, 1..) if takes(Carries::Usage) => "rater",
        (_, 1..) => "charge",
        (1, 0) if gives(Carries::Level) > 0 => "accumulator",
        (1, 0) => "usage",
        _ => "filter",
    }
}

const fn word(carries: Carries) -> &'static str {
    match carries {
        Carries::Usage => "usage",
        Carries::Charge => "charge",
        Carries::Level => "level",
    }
}

fn input(spec: &InputSpec) -> InputType {
    let InputSpec { name, carries, required, many, .. } = *spec;
    InputType { name, carries: word(carries), required, many }
}

fn output(spec: &OutputSpec) -> OutputType {
    let may_stay_open = match spec.open {
        Open::Never => "never",
        Open::Always => "always",
        Open::SourceFed => "at-the-source",
        Open::When(_) => "when-nothing-flows",
    };
    OutputType { name: spec.name, carries: word(spec.carries), may_stay_open }
}

fn property(spec: &PropertySpec) -> PropertyType {
    PropertyType {
        name: spec.name,
        kind: spec.value.word(),
        choices: match spec.value {
            Value::Choice(words) => words,
            _ => &[],
        },
        required: spec.need == Need::Required,
        default: match spec.need {
            Need::Default(text) => Some(text),
            Need::Required | Need::Optional => None,
        },
        help: spec.help,
    }
}

fn child(spec: &ChildSpec) -> ChildType {
    let ChildSpec { name, at_least, properties, help } = *spec;
    ChildType { name, at_least, properties: properties.iter().map(property).collect(), help }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever chooses a primitive reads nothing else.
    #[test]
    fn every_property_and_every_child_has_a_line_of_help() {
        for primitive in primitive_types() {
            let own = primitive.properties.iter().map(|property| (property.name, property.help));
            let children = primitive.children.iter().map(|child| (child.name, child.help));
            let theirs = primitive.children.iter().flat_map(|child| &child.properties);
            let theirs = theirs.map(|property| (property.name, property.help));
            for (name, help) in own.chain(children).chain(theirs) {
                let line = !help.trim().is_empty() && !help.contains('\n');
                assert!(line, "{}: {name}: {help:?}", primitive.name);
            }
        }
    }

    #[test]
    fn a_type_is_told_with_ports_properties_and_children() {
        let types = primitive_types();
        let find = |name: &str| types.iter().find(|known| known.name == name).unwrap();
        let rater = find("StepRater");
        assert_eq!(rater.category, "rater");
        assert_eq!((rater.inputs[0].name, rater.inputs[0].carries), ("in", "usage"));
        let level = rater.inputs.iter().find(|input| input.name == "level").unwrap();
        assert!(!level.required && level.carries == "level");
        let mode = rater.properties.iter().find(|property| property.name == "mode").unwrap();
        assert_eq!((mode.kind, mode.default), ("choice", Some("graduated")));
        assert!(mode.choices.contains(&"volume"));
        assert_eq!((rater.children[0].name, rater.children[0].at_least), ("step", 1));
        let rest = &find("UsageTypeSelector").outputs[1];
        assert_eq!((rest.name, rest.may_stay_open), ("rest", "at-the-source"));
        assert_eq!(find("IptoLocationMapper").tells, Some("location"));
        for (name, category) in [
            ("MonthlyAccumulator", "accumulator"),
            ("DailyTimeFilter", "filter"),
            ("UsageTypeClassifier", "usage"),
            ("MonthlyRecurringCharge", "charge"),
            ("TaxCalculator", "charges"),
            ("SecondAccountFinalizer", "finalizer"),
            ("Ignore", "finalizer"),
        ] {
            assert_eq!(find(name).category, category, "{name}");
        }
    }

    /// The whole catalogue survives as JSON: nothing of it is left out.
    #[test]
    fn the_catalogue_as_json_holds_every_type_with_everything() {
        let types = primitive_types();
        let json = serde_json::to_value(&types).unwrap();
        for (known, shown) in types.iter().zip(json.as_array().unwrap()) {
            assert_eq!(shown["name"], known.name);
            for (key, count) in [
                ("inputs", known.inputs.len()),
                ("outputs", known.outputs.len()),
                ("properties", known.properties.len()),
                ("children", known.children.len()),
            ] {
                assert_eq!(shown[key].as_array().unwrap().len(), count, "{} {key}", known.name);
            }
        }
        assert_eq!(json.as_array().unwrap().len(), ALL.len());
    }
}
