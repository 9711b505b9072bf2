//! Options that `turnpike rate` offers to every account (docs/plan-semantics.md section 6).

use std::collections::BTreeSet;

use turnpike_trial::{TrialAccount, TrialCatalogue};
use turnpike_types::{Money, Timestamp};

use crate::exit::usage;

use super::settings::RateSettings;

/// The account with the plans of each option as alternatives, and all other plans as plain
/// subscriptions. All of them begin at `from`.
pub(super) fn subscribed(
    settings: &RateSettings,
    account: TrialAccount,
    catalogue: &TrialCatalogue,
    from: Timestamp,
) -> anyhow::Result<TrialAccount> {
    let known = catalogue.ids();
    let (mut names, mut offered) = (BTreeSet::new(), BTreeSet::new());
    let mut with_options = account;
    for (name, plans) in &settings.options {
        let plans: Vec<&str> = plans.split(',').map(str::trim).collect();
        let wrong = |why: String| usage(format!("--option {name}: {why}"));
        if !names.insert(name.as_str()) {
            return Err(wrong(
                "the option is given twice: list all its plans in one --option".to_owned(),
            ));
        }
        if plans.len() < 2 {
            return Err(wrong("an option needs two or more plans: NAME=ID,ID".to_owned()));
        }
        for plan in &plans {
            if !known.iter().any(|id| id == plan) {
                return Err(wrong(format!("no --plan has the id \"{plan}\"")));
            }
            if !offered.insert(*plan) {
                return Err(wrong(format!("plan \"{plan}\" is offered already")));
            }
        }
        let fee = fee(settings, name)?;
        with_options = with_options.with_option(name, fee, from, plans);
    }
    if let Some((name, _)) = settings.option_fees.iter().find(|(name, _)| !names.contains(&**name))
    {
        return Err(usage(format!("--option-fee {name}: there is no --option {name}")));
    }
    let plain = known.iter().filter(|id| !offered.contains(id.as_str()));
    Ok(with_options.with_all_from(from, plain))
}

fn fee(settings: &RateSettings, name: &str) -> anyhow::Result<Money> {
    let Some((_, fee)) = settings.option_fees.iter().find(|(of, _)| of == name) else {
        return Ok(Money::ZERO);
    };
    let fee = fee.parse::<Money>().ok().filter(|fee| *fee >= Money::ZERO);
    fee.ok_or_else(|| usage(format!("--option-fee {name}: write an amount such as 2.50")))
}
