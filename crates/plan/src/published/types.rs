//! The primitive types as data, for plan authors and editors.

use serde::Serialize;

use crate::language::spec::{
    Carries, ChildSpec, InputSpec, MayBeUnconnected, OutputSpec, Presence, PropertySpec, Role,
    Spec, Value,
};
use crate::primitives::ALL;

/// A primitive type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrimitiveType {
    /// The name of the element.
    pub name: &'static str,
    /// The category: `filter`, `accumulator`, `usage`, `rater`, `charge`, `charges` or
    /// `finalizer`.
    pub category: &'static str,
    /// A summary in one line.
    pub help: &'static str,
    /// The attributes that hold links.
    pub inputs: Vec<InputType>,
    /// The ports to which other primitives link.
    pub outputs: Vec<OutputType>,
    /// The attributes that hold values.
    pub properties: Vec<PropertyType>,
    /// The child elements.
    pub children: Vec<ChildType>,
    /// The attribute that the primitive derives for a record, read as `ID.NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derives: Option<&'static str>,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputType {
    /// The name of the input.
    pub name: &'static str,
    /// What the input carries: `usage`, `charge` or `level`.
    pub carries: &'static str,
    /// Whether a link is required.
    pub required: bool,
    /// Whether the input accepts several links, whose contents are merged.
    pub many: bool,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputType {
    /// The name of the output.
    pub name: &'static str,
    /// What the output carries: `usage`, `charge` or `level`.
    pub carries: &'static str,
    /// The condition under which no link to the output is required: `never`, `always`,
    /// `at-the-source`, or `when-nothing-flows`.
    pub may_stay_open: &'static str,
}

/// A property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PropertyType {
    /// The name of the property.
    pub name: &'static str,
    /// The name of the value's syntax, such as `money`, `quantity` or `choice`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The permitted words; empty if the property is not a choice.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub choices: &'static [&'static str],
    /// Whether the property is required.
    pub required: bool,
    /// The value if the property is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<&'static str>,
    /// The meaning in one line.
    pub help: &'static str,
}

/// A child element of a primitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChildType {
    /// The name of the element.
    pub name: &'static str,
    /// The least number of such elements.
    pub at_least: usize,
    /// The attributes of the element.
    pub properties: Vec<PropertyType>,
    /// The meaning in one line.
    pub help: &'static str,
}

/// Every primitive type of this version of Turnpike, in the order of registration.
pub fn primitive_types() -> Vec<PrimitiveType> {
    ALL.iter().map(|definition| described(&definition.spec)).collect()
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
        derives: match spec.role {
            Role::Derives(name) => Some(name),
            _ => None,
        },
    }
}

/// The category of a primitive, derived from the kinds of values that its inputs and outputs carry.
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

fn input(spec: &InputSpec) -> InputType {
    let InputSpec { name, carries, required, many, .. } = *spec;
    InputType { name, carries: carries.into_str(), required, many }
}

fn output(spec: &OutputSpec) -> OutputType {
    let may_stay_open = match spec.open {
        MayBeUnconnected::Never => "never",
        MayBeUnconnected::Always => "always",
        MayBeUnconnected::SourceFed => "at-the-source",
        MayBeUnconnected::When(_) => "when-nothing-flows",
    };
    OutputType { name: spec.name, carries: spec.carries.into_str(), may_stay_open }
}

fn property(spec: &PropertySpec) -> PropertyType {
    PropertyType {
        name: spec.name,
        kind: spec.value.word(),
        choices: match spec.value {
            Value::Choice(words) => words,
            _ => &[],
        },
        required: spec.presence == Presence::Required,
        default: match spec.presence {
            Presence::Default(text) => Some(text),
            Presence::Required | Presence::Optional => None,
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

    /// A plan author chooses primitives and properties by their help texts.
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
    fn a_type_is_described_with_ports_properties_and_children() {
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
        assert_eq!(find("IptoLocationMapper").derives, Some("location"));
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

    /// The JSON form holds the full list, with every input, output, property and child.
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
