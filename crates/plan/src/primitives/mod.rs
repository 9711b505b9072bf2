//! The primitives, one file for each, all registered in [`ALL`].

mod account_finalizer;
pub(crate) mod accumulators;
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
pub(crate) mod parts;
mod percentile_rater;
pub(crate) mod recurring_charges;
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

use crate::language::spec::Spec;

/// Every primitive of this version. A new primitive is registered here only.
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
    &threshold_filter::SPEC,
    &daily_time_filter::SPEC,
    &weekly_time_filter::SPEC,
    &special_days_time_filter::SPEC,
    &usage_type_classifier::SPEC,
    &usage_increment::SPEC,
    &weigher::SPEC,
    &allowance::SPEC,
    &e164_dial_plan_rater::SPEC,
    &ip_to_location_mapper::SPEC,
    &percentile_rater::SPEC,
    &level_meter::SPEC,
    &usage_monitor::SPEC,
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

/// Finds a primitive type by its name.
pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_of_its_own_and_a_line_of_help() {
        for (place, spec) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(place + 1).all(|other| other.name != spec.name));
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
