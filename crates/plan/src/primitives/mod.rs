//! The primitives, one file for each, all registered in [`ALL`]. `parts/` holds what several
//! primitives have in common.

mod account_finalizer;
mod accumulators;
mod adder;
mod allowance;
mod bonus_credit;
mod bounds;
mod cost_responsibility_matrix;
mod currency_converter;
mod daily_time_filter;
mod discount;
mod e164_dial_plan_rater;
mod ignore;
mod ip_to_location_mapper;
mod level_meter;
mod one_time_charge;
mod parts;
mod percentile_rater;
mod recurring_charges;
mod second_account_finalizer;
mod special_days_time_filter;
mod step_rater;
mod tax_calculator;
mod threshold_filter;
mod usage_increment;
mod usage_monitor;
mod usage_type_classifier;
mod usage_type_selector;
mod weekly_time_filter;
mod weigher;

use crate::compile::definition::Definition;
use crate::language::spec::{Spec, Vocabulary};

/// Every primitive of this version. A new primitive is registered here only.
pub(crate) static ALL: &[&Definition] = &[
    &usage_type_selector::DEFINITION,
    &one_time_charge::DEFINITION,
    &recurring_charges::MONTHLY,
    &recurring_charges::BILLING_CYCLE,
    &recurring_charges::WEEKLY,
    &accumulators::MONTHLY,
    &accumulators::BILLING_CYCLE,
    &accumulators::WEEKLY,
    &accumulators::DAILY,
    &step_rater::DEFINITION,
    &threshold_filter::DEFINITION,
    &daily_time_filter::DEFINITION,
    &weekly_time_filter::DEFINITION,
    &special_days_time_filter::DEFINITION,
    &usage_type_classifier::DEFINITION,
    &usage_increment::DEFINITION,
    &weigher::DEFINITION,
    &allowance::DEFINITION,
    &e164_dial_plan_rater::DEFINITION,
    &ip_to_location_mapper::DEFINITION,
    &percentile_rater::DEFINITION,
    &level_meter::DEFINITION,
    &usage_monitor::DEFINITION,
    &adder::DEFINITION,
    &discount::DEFINITION,
    &bounds::MINIMUM,
    &bounds::CAP,
    &bounds::COMMITMENT,
    &tax_calculator::DEFINITION,
    &currency_converter::DEFINITION,
    &cost_responsibility_matrix::DEFINITION,
    &bonus_credit::DEFINITION,
    &account_finalizer::DEFINITION,
    &second_account_finalizer::DEFINITION,
    &ignore::DEFINITION,
];

/// The declarations of all primitives, by which plans are read and checked.
pub(crate) static VOCABULARY: Vocabulary = Vocabulary(&SPECS);

static SPECS: [&Spec; ALL.len()] = {
    let mut specs = [&ALL[0].spec; ALL.len()];
    let mut place = 1;
    while place < ALL.len() {
        specs[place] = &ALL[place].spec;
        place += 1;
    }
    specs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_of_its_own_and_a_line_of_help() {
        for (place, spec) in SPECS.iter().enumerate() {
            assert!(SPECS.iter().skip(place + 1).all(|other| other.name != spec.name));
            assert!(!spec.help.is_empty() && !spec.help.contains('\n'), "{}", spec.name);
        }
    }

    #[test]
    fn inputs_and_properties_of_a_type_do_not_share_a_name() {
        for spec in SPECS {
            for input in spec.inputs {
                assert!(input.name != "id" && spec.properties.iter().all(|p| p.name != input.name));
            }
        }
    }
}
