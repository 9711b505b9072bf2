//! `turnpike plan primitives`: the types of primitives in plans.

use clap::Args;
use turnpike_plan::{PrimitiveType, PropertyType, primitive_types};

use crate::exit::{Finish, usage};
use crate::ui;

const EXAMPLES: &str = "\
Each type has a page with a worked example in docs/primitives.

Examples:
  turnpike plan primitives
  turnpike plan primitives StepRater
  turnpike plan primitives --json";

/// Options of `plan primitives`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PrimitivesArgs {
    /// Show all details of these types [default: a line for each type]
    #[arg(value_name = "TYPE")]
    types: Vec<String>,
    /// Print as JSON, with ports, properties and children
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PrimitivesArgs) -> anyhow::Result<Finish> {
    let mut types = primitive_types();
    if let Some(unknown) = args.types.iter().find(|name| types.iter().all(|t| t.name != **name)) {
        return Err(usage(format!(
            "{unknown} is not a type of primitive; run it without a type to list all"
        )));
    }
    if !args.types.is_empty() {
        types.retain(|known| args.types.iter().any(|name| name == known.name));
    }
    if args.json {
        ui::print_json(&types)?;
    } else if args.types.is_empty() {
        let row =
            |t: &PrimitiveType| vec![t.name.to_owned(), t.category.to_owned(), t.help.to_owned()];
        let rows: Vec<Vec<String>> = types.iter().map(row).collect();
        ui::print_table(&["TYPE", "SORT", "WHAT IT DOES"], &rows)?;
    } else {
        types.iter().try_for_each(|known| ui::print(description(known)))?;
    }
    Ok(Finish::Done)
}

/// All details of a type, with a line for each port, property and child.
fn description(known: &PrimitiveType) -> String {
    let mut lines = vec![format!("{}: {}", known.name, known.help)];
    for input in &known.inputs {
        let need = if input.required { "" } else { ", optional" };
        let many = if input.many { ", of one or several" } else { "" };
        lines.push(format!("  in   {}: {}{many}{need}", input.name, input.carries));
    }
    for output in &known.outputs {
        let open = match output.may_stay_open {
            "never" => "",
            "always" => ", may stay open",
            "at-the-source" => ", may stay open at the source",
            _ => ", may stay open where nothing flows",
        };
        lines.push(format!("  out  {}: {}{open}", output.name, output.carries));
    }
    if let Some(attribute) = known.derives {
        lines.push(format!("  attribute {attribute}, read as ID.{attribute}"));
    }
    lines.extend(known.properties.iter().map(|p| format!("  {}", property(p))));
    for child in &known.children {
        let least = if child.at_least > 0 { ", at least one" } else { "" };
        lines.push(format!("  <{}>{least}: {}", child.name, child.help));
        lines.extend(child.properties.iter().map(|p| format!("    {}", property(p))));
    }
    lines.join("\n")
}

fn property(property: &PropertyType) -> String {
    let kind = if property.choices.is_empty() {
        property.kind.to_owned()
    } else {
        property.choices.join("|")
    };
    let need = match (property.required, property.default) {
        (true, _) => ", required".to_owned(),
        (false, Some(default)) => format!(", default {default}"),
        (false, None) => String::new(),
    };
    format!("{}=\"{kind}\"{need}: {}", property.name, property.help)
}
