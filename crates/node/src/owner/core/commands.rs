//! Turns account commands into changes of the log, and checks each by itself.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::civil::{Date, date};
use turnpike_plan::Zone;
use turnpike_proto::account::v1 as wire;
use turnpike_proto::account::v1::AccountCommand;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_segment::head::{Cancellation, Change, Offer, OptOut, Pick};
use turnpike_tariff::{Settings, Subscription};
use turnpike_types::{Currency, Money, MoneyError, limits, text};

/// The permitted numbers of plans in one option.
const ALTERNATIVES: RangeInclusive<usize> = 2..=16;
const OPTION_BYTES_MAX: usize = text::OPTION.bytes_max;
const PLAN_ID_BYTES_MAX: usize = text::PLAN_ID.bytes_max;
const EPOCH: Date = date(1970, 1, 1);

/// The change that a command asks for. The command is checked by itself, not against the account.
///
/// # Errors
///
/// The fault of the command, and how to correct it.
pub(super) fn change_of(command: &AccountCommand) -> Result<Change, String> {
    match &command.command {
        Some(Command::Open(open)) => {
            let opened = settings(open.settings.as_ref(), i64::MIN)?;
            listed(&opened.currency)?;
            Ok(Change::Opened(opened))
        }
        Some(Command::ChangeSettings(change)) => {
            let changed = settings(change.settings.as_ref(), change.from_us)?;
            listed(&changed.currency)?;
            Ok(Change::SettingsChanged(changed))
        }
        Some(Command::Subscribe(asked)) => subscription(asked).map(Change::Subscribed),
        Some(Command::Cancel(cancel)) => Ok(Change::Cancelled(Cancellation {
            plan_id: cancel.plan_id.clone(),
            at_us: cancel.at_us,
        })),
        Some(Command::Offer(asked)) => offer(asked).map(Change::Offered),
        Some(Command::Pick(asked)) => pick(asked).map(Change::Picked),
        Some(Command::OptOut(asked)) => opt_out(asked).map(Change::OptedOut),
        Some(Command::AmendSettings(_)) => {
            Err("named settings are checked with the account's settings".to_owned())
        }
        Some(Command::Bind(_) | Command::Unbind(_)) => {
            Err("a node does not change bindings: send the command to a front".to_owned())
        }
        None => Err("this node does not know the command: upgrade this node".to_owned()),
    }
}

/// The instant, for people.
pub(super) fn shown(at_us: i64) -> String {
    jiff::Timestamp::from_microsecond(at_us)
        .map_or_else(|_| format!("{at_us} us"), |at| at.to_string())
}

/// The settings `base` with the changes of the command, after checks. `earlier` are the settings
/// before the instant of the change.
///
/// # Errors
///
/// The fault of the command, and how to correct it.
pub(super) fn amended(
    base: &Settings,
    earlier: &Settings,
    asked: &wire::AmendSettings,
) -> Result<Settings, String> {
    let (set, removed) = (&asked.attributes, &asked.removed_attributes);
    let names_any = asked.zone.is_some() || asked.cycle_day.is_some() || asked.currency.is_some();
    if !names_any && set.is_empty() && removed.is_empty() {
        return Err(
            "no setting is named: name a zone, a cycle day, a currency or an attribute".to_owned()
        );
    }
    if removed.len() > limits::ATTRIBUTES_MAX {
        let most = limits::ATTRIBUTES_MAX;
        return Err(format!("{} attributes to remove: at most {most}", removed.len()));
    }
    if let Some(both) = removed.iter().find(|name| set.contains_key(*name)) {
        return Err(format!("attribute {both} is set and removed: name it once"));
    }
    let has = |name: &String| [base, earlier].iter().any(|all| all.attributes.contains_key(name));
    if let Some(unknown) = removed.iter().find(|name| !has(name)) {
        return Err(format!(
            "the account has no attribute {unknown} at that instant ({}): nothing was changed",
            attributes_of(base)
        ));
    }
    if let Some(currency) = &asked.currency {
        listed(currency)?;
    }
    let mut attributes = base.attributes.clone();
    attributes.retain(|name, _| !removed.contains(name));
    attributes.extend(set.clone());
    let whole = wire::Settings {
        zone: asked.zone.clone().unwrap_or_else(|| base.zone.clone()),
        cycle_day: asked.cycle_day.unwrap_or(base.cycle_day),
        currency: asked.currency.clone().unwrap_or_else(|| base.currency.clone()),
        attributes,
    };
    settings(Some(&whole), asked.from_us)
}

/// The names of the account's attributes, as a part of an error message.
fn attributes_of(settings: &Settings) -> String {
    const NAMED_MAX: usize = 10;
    let names: Vec<&str> = settings.attributes.keys().take(NAMED_MAX).map(String::as_str).collect();
    match settings.attributes.len() {
        0 => "it has none".to_owned(),
        1..=NAMED_MAX => format!("it has {}", names.join(", ")),
        _ => format!("it has {}, …", names.join(", ")),
    }
}

fn subscription(asked: &wire::Subscribe) -> Result<Subscription, String> {
    if asked.plan_id.is_empty() {
        return Err("a subscription needs a plan's id".to_owned());
    }
    small(&asked.parameters)?;
    Ok(Subscription {
        plan_id: asked.plan_id.clone(),
        from_us: asked.from_us,
        until_us: i64::MAX,
        priority: asked.priority,
        parameters: asked.parameters.clone(),
        ..Subscription::default()
    })
}

fn offer(asked: &wire::Offer) -> Result<Offer, String> {
    let plans = &asked.plan_ids;
    if !ALTERNATIVES.contains(&plans.len()) {
        let (least, most) = (ALTERNATIVES.start(), ALTERNATIVES.end());
        return Err(format!("{} plans: an option has {least} to {most}", plans.len()));
    }
    for (at, plan) in plans.iter().enumerate() {
        plan_id(plan)?;
        if plans.iter().take(at).any(|other| other == plan) {
            return Err(format!("plan {plan} is named twice: name each alternative once"));
        }
    }
    Ok(Offer {
        option: option(&asked.option)?,
        plans: plans.clone(),
        fee: fee(&asked.fee)?,
        from_us: asked.from_us,
        priority: asked.priority,
    })
}

fn pick(asked: &wire::Pick) -> Result<Pick, String> {
    let wrong = || {
        format!("{:?} is not a date: write the cycle's first day, such as 2026-07-15", asked.cycle)
    };
    plan_id(&asked.plan_id)?;
    let plain = asked.cycle.len() == "2026-07-15".len();
    let first: Date = asked.cycle.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    let days = EPOCH.until(first).map_err(|_| wrong())?.get_days();
    Ok(Pick { option: option(&asked.option)?, plan_id: asked.plan_id.clone(), cycle: days })
}

fn opt_out(asked: &wire::OptOut) -> Result<OptOut, String> {
    plan_id(&asked.plan_id)?;
    let (plan_id, at_us) = (asked.plan_id.clone(), asked.at_us);
    Ok(OptOut { option: option(&asked.option)?, plan_id, at_us })
}

fn option(name: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > OPTION_BYTES_MAX || !name.chars().all(legal) {
        return Err(format!(
            "{name:?} is not the name of an option: write 1 to {OPTION_BYTES_MAX} letters, \
             digits, -, _ or ."
        ));
    }
    Ok(name.to_owned())
}

fn plan_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("an alternative needs a plan's id".to_owned()),
        1..=PLAN_ID_BYTES_MAX => Ok(()),
        bytes => Err(format!("a plan's id of {bytes} bytes: at most {PLAN_ID_BYTES_MAX}")),
    }
}

/// A fee in canonical form, so that the same offer gives the same bytes. Empty for no fee.
fn fee(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let fee: Money = text.parse().map_err(|error: MoneyError| format!("fee: {error}"))?;
    match fee.cmp(&Money::ZERO) {
        Ordering::Less => Err(format!("a fee of {text} is below zero: write 0 or more")),
        Ordering::Equal => Ok(String::new()),
        Ordering::Greater => Ok(fee.to_string()),
    }
}

/// Checks a currency that a command names. An account that an earlier release opened may have a
/// code that ISO 4217 does not list; the account keeps that code until a command names another one.
fn listed(currency: &str) -> Result<(), String> {
    Currency::listed(currency).map(drop).map_err(|error| error.to_string())
}

fn settings(settings: Option<&wire::Settings>, from_us: i64) -> Result<Settings, String> {
    let settings = settings.ok_or("an account needs settings: zone, cycle day, currency")?;
    Zone::parse(&settings.zone).map_err(|error| error.to_string())?;
    settings.currency.parse::<Currency>().map_err(|error| error.to_string())?;
    if !(1..=31).contains(&settings.cycle_day) {
        return Err(format!("cycle day {} is not between 1 and 31", settings.cycle_day));
    }
    small(&settings.attributes)?;
    Ok(Settings {
        from_us,
        zone: settings.zone.clone(),
        cycle_day: settings.cycle_day,
        currency: settings.currency.clone(),
        attributes: settings.attributes.clone(),
    })
}

/// Refuses attributes or parameters that are too many or too long, since an account keeps them for
/// ever.
fn small(texts: &BTreeMap<String, String>) -> Result<(), String> {
    let bytes: usize = texts.iter().map(|(name, text)| name.len() + text.len()).sum();
    if texts.len() > limits::ATTRIBUTES_MAX || bytes > limits::RECORD_BYTES_MAX {
        return Err(format!(
            "{} attributes or parameters of {bytes} bytes are too many: at most {} of {} bytes",
            texts.len(),
            limits::ATTRIBUTES_MAX,
            limits::RECORD_BYTES_MAX
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(change: impl FnOnce(&mut wire::Offer)) -> Result<Offer, String> {
        let mut asked = wire::Offer {
            option: "phone".to_owned(),
            plan_ids: vec!["small".to_owned(), "large".to_owned()],
            fee: "2.5".to_owned(),
            from_us: 5,
            priority: 3,
        };
        change(&mut asked);
        offer(&asked)
    }

    #[test]
    fn an_offer_is_logged_in_one_form() {
        let offer = offered(|_| ()).unwrap();
        assert_eq!(offer.plans, ["small", "large"]);
        assert_eq!(offer.fee, "2.500000000");
        for free in ["", "0", "0.00", "-0"] {
            assert_eq!(offered(|offer| offer.fee = free.to_owned()).unwrap().fee, "", "{free}");
        }
    }

    #[test]
    fn each_fault_of_an_offer_is_named() {
        let fault = |change: &dyn Fn(&mut wire::Offer)| offered(change).unwrap_err();
        assert!(fault(&|offer| offer.plan_ids.truncate(1)).contains("2 to 16"));
        let many = (0..17).map(|n| n.to_string()).collect::<Vec<_>>();
        assert!(fault(&|offer| offer.plan_ids = many.clone()).contains("2 to 16"));
        assert!(fault(&|offer| offer.plan_ids[1] = "small".to_owned()).contains("twice"));
        assert!(fault(&|offer| offer.plan_ids[1].clear()).contains("plan's id"));
        assert!(fault(&|offer| offer.plan_ids[1] = "x".repeat(129)).contains("129"));
        assert!(fault(&|offer| offer.fee = "-1".to_owned()).contains("below zero"));
        assert!(fault(&|offer| offer.fee = "0.0000000001".to_owned()).contains("nine places"));
        for name in ["", "two words", &"x".repeat(65)] {
            assert!(fault(&|offer| offer.option = name.to_owned()).contains("name of an option"));
        }
    }

    #[test]
    fn a_cycle_is_named_by_its_first_day() {
        let picked = |cycle: &str| {
            let (option, plan_id) = ("phone".to_owned(), "small".to_owned());
            pick(&wire::Pick { option, plan_id, cycle: cycle.to_owned() }).map(|pick| pick.cycle)
        };
        assert_eq!(picked("2026-07-15"), Ok(20_649));
        assert_eq!(picked("1969-12-31"), Ok(-1));
        for wrong in ["", "July", "2026-02-30", "2026-07-15T00:00", "20260715"] {
            assert!(picked(wrong).unwrap_err().contains("2026-07-15"), "{wrong}");
        }
    }
}
