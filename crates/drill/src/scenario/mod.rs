//! The scenarios, one file for each or for a few similar ones.

mod cold;
mod crash;
mod cut;
mod database;
mod definition;
mod flapping;
mod freeze;
mod handover;
mod kills;
mod lost_answer;
mod many;
mod rolling;

use definition::USUAL;
pub use definition::{Guarantee, Needs, Quantile, Scenario, Size, Target};

/// All scenarios, in the order of `--all`.
pub const SCENARIOS: &[Scenario] = &[
    crash::CRASH,
    freeze::FREEZE,
    handover::HANDOVER,
    handover::DRAIN,
    cut::NODE_DATABASE,
    cut::FRONT_NODE,
    cut::FRONT_DATABASE,
    cut::CLIENT_FRONT,
    rolling::ROLLING_RESTART,
    database::DATABASE_RESTART,
    lost_answer::LOST_ANSWER,
    flapping::FLAPPING,
    many::MANY_PARTITIONS,
    cold::COLD,
    kills::KILLS,
];

/// The scenario with this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scenario_names_are_distinct_plain_words() {
        let names: HashSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(is_plain));
    }

    #[test]
    fn each_is_on_the_page_about_drills() {
        let page = include_str!("../../../../docs/drills.md");
        for scenario in SCENARIOS {
            let name = format!("`{}`", scenario.name);
            assert!(page.contains(&name), "{name} is not on the page");
        }
    }
}
