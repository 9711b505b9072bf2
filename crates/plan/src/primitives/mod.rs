//! The primitives: one file each, all listed in [`ALL`].

mod account_finalizer;
mod accumulators;
mod adder;
mod allowance;
mod bonus_credit;
mod bounds;
mod buckets;
mod charges;
mod cost_responsibility_matrix;
mod currency_converter;
mod daily_time_filter;
mod discount;
mod ignore;
mod one_time_charge;
mod patterns;
mod recurring_charges;
mod second_account_finalizer;
mod shares;
mod step_rater;
mod tax_calculator;
mod usage_type_selector;
mod weigher;

use crate::spec::Spec;

/// Every primitive of this version: the one place to register one.
pub(crate) static ALL: &[&Spec] = &[
    &usage_type_selector::SPEC,
    &one_time_charge::SPEC,
    &recurring_charges::MONTHLY,
    &recurring_charges::BILLING_CYCLE,
    &recurring_charges::WEEKLY,
    &accumulators::MONTHLY,
    &accumulators::BILLING_CYCLE,
    &accumulators::WEEKLY,
    &accumulators::DAILY,
    &step_rater::SPEC,
    &daily_time_filter::SPEC,
    &weigher::SPEC,
    &allowance::SPEC,
    &adder::SPEC,
    &discount::SPEC,
    &bounds::MINIMUM,
    &bounds::CAP,
    &bounds::COMMITMENT,
    &tax_calculator::SPEC,
    &currency_converter::SPEC,
    &cost_responsibility_matrix::SPEC,
    &bonus_credit::SPEC,
    &account_finalizer::SPEC,
    &second_account_finalizer::SPEC,
    &ignore::SPEC,
];

/// The rest of PLANS section 8.
static NOT_YET: &[&str] = &[
    "ThresholdFilter",
    "WeeklyTimeFilter",
    "SpecialDaysTimeFilter",
    "UsageTypeClassifier",
    "E164DialPlanRater",
    "IptoLocationMapper",
    "UsageIncrement",
    "LevelMeter",
    "PercentileRater",
    "UsageMonitor",
];

/// What is known of a type's name.
#[derive(Clone, Copy)]
pub(crate) enum Lookup {
    Known(&'static Spec),
    /// Specified, not built yet.
    NotYet,
    Unknown,
}

/// Finds a type by its name.
pub(crate) fn find(name: &str) -> Lookup {
    match ALL.iter().find(|spec| spec.name == name) {
        Some(spec) => Lookup::Known(spec),
        None if NOT_YET.contains(&name) => Lookup::NotYet,
        None => Lookup::Unknown,
    }
}

/// A type of primitive, for people who choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimitiveType {
    /// The element's name.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Names of its inputs.
    pub inputs: Vec<&'static str>,
    /// Names of its outputs.
    pub outputs: Vec<&'static str>,
    /// Names of its properties.
    pub properties: Vec<&'static str>,
}

/// Every type of primitive of this version.
pub fn primitive_types() -> Vec<PrimitiveType> {
    let describe = |spec: &&Spec| PrimitiveType {
        name: spec.name,
        help: spec.help,
        inputs: spec.inputs.iter().map(|input| input.name).collect(),
        outputs: spec.outputs.iter().map(|output| output.name).collect(),
        properties: spec.properties.iter().map(|property| property.name).collect(),
    };
    ALL.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_of_its_own_and_a_line_of_help() {
        for (place, spec) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(place + 1).all(|other| other.name != spec.name));
            assert!(!NOT_YET.contains(&spec.name), "{}", spec.name);
            assert!(!spec.help.is_empty() && !spec.help.contains('\n'), "{}", spec.name);
        }
    }

    #[test]
    fn inputs_and_properties_of_a_type_do_not_share_a_name() {
        for spec in ALL {
            for input in spec.inputs {
                assert!(input.name != "id" && spec.properties.iter().all(|p| p.name != input.name));
            }
        }
    }
}
