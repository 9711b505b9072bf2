//! Tests of the checks of a subscription when it is requested.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use turnpike_plan::{
    Plan, PublishedVersion, SubscriberSettings, SubscriptionAsked, SubscriptionFault, Zone,
    check_subscription,
};
use turnpike_types::Timestamp;

fn plan(version: u32, starts: &str, parameters: &str) -> Plan {
    let price = if parameters.contains("peak-price") { "$peak-price" } else { "1.00" };
    turnpike_plan::parse(&format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="mobile" version="{version}" starts="{starts}" currency="USD">
  {parameters}
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="{price}" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#
    ))
    .unwrap()
}

const PEAK: &str = r#"<parameter id="peak-price" type="money" value="2.00"/>"#;

/// Two versions, of which only the second has the parameter.
fn versions() -> [Plan; 2] {
    [plan(1, "2026-01-01", ""), plan(2, "2026-06-01", PEAK)]
}

fn at(instant: &str) -> Timestamp {
    Timestamp(instant.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

struct Asked {
    plan: &'static str,
    from: Timestamp,
    parameters: &'static [(&'static str, &'static str)],
    zone: Option<&'static str>,
    currency: &'static str,
}

const ASKED: Asked = Asked {
    plan: "mobile",
    from: Timestamp(1_782_000_000_000_000), // 2026-06-21
    parameters: &[],
    zone: Some("UTC"),
    currency: "USD",
};

fn check(asked: &Asked, plans: &[Plan]) -> Result<(), SubscriptionFault> {
    let published: Vec<PublishedVersion<'_>> = plans
        .iter()
        .map(|plan| PublishedVersion {
            version: plan.version(),
            starts: plan.starts(),
            plan: Some(plan),
        })
        .collect();
    let published = if asked.plan == "mobile" { published.as_slice() } else { &[] };
    let parameters: BTreeMap<String, String> =
        asked.parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let zone = asked.zone.map(|zone| Zone::parse(zone).unwrap());
    let currency = asked.currency.parse().unwrap();
    let settings = zone.as_ref().map(|zone| SubscriberSettings { zone, currency });
    let (plan_id, from) = (asked.plan, asked.from);
    let asked = SubscriptionAsked { plan_id, from, parameters: &parameters, settings };
    let ids = ["landline", "mobile", "mobile-plus"];
    check_subscription(&asked, published, ids.into_iter(), &mut |plan, parameters| {
        let code = turnpike_plan::compile(plan, parameters).map_err(|errors| errors.to_string())?;
        Ok(code.posts())
    })
}

fn fault(asked: &Asked) -> String {
    check(asked, &versions()).unwrap_err().to_string()
}

#[test]
fn a_plan_that_fits_is_taken() {
    assert_eq!(check(&ASKED, &versions()), Ok(()));
    let overridden = Asked { parameters: &[("peak-price", "3.50")], ..ASKED };
    assert_eq!(check(&overridden, &versions()), Ok(()));
}

#[test]
fn an_unknown_plan_is_refused_with_the_nearest_name() {
    let told = fault(&Asked { plan: "moble", ..ASKED });
    assert!(told.contains("\"moble\" is not published") && told.contains("\"mobile\"?"), "{told}");
    let told = fault(&Asked { plan: "television", ..ASKED });
    assert!(!told.contains("did you mean"), "{told}");
    assert!(told.contains("turnpike plan list"), "{told}");
}

#[test]
fn a_start_before_the_first_version_is_refused_with_the_versions_and_their_starts() {
    let told = fault(&Asked { from: at("2025-12-31T23:59:59Z"), ..ASKED });
    for said in
        ["2025-12-31T23:59:59", "version 1 starts on 2026-01-01", "version 2 starts on 2026-06-01"]
    {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
    assert_eq!(check(&Asked { from: at("2026-01-01T00:00:00Z"), ..ASKED }, &versions()), Ok(()));
}

/// A version starts on a date in the account's zone, not in UTC.
#[test]
fn a_start_is_judged_in_the_accounts_zone() {
    let from = at("2025-12-31T12:00:00Z");
    let of = |zone| check(&Asked { from, zone, ..ASKED }, &versions()).is_ok();
    assert!(of(Some("Pacific/Kiritimati")), "there it is 2026 already");
    assert!(!of(Some("UTC")));
    assert!(of(None), "without a zone nothing is refused that is right in one");
    let from = at("2025-12-30T12:00:00Z");
    assert!(check(&Asked { from, zone: None, ..ASKED }, &versions()).is_err());
}

#[test]
fn without_a_start_a_subscription_begins_with_the_first_version() {
    for from in [Timestamp::MIN, Timestamp(0), at("1970-01-02T11:00:00Z")] {
        assert_eq!(check(&Asked { from, ..ASKED }, &versions()), Ok(()), "{from:?}");
    }
    // A subscription from the start of the plan is also rated by the first version, which does not
    // have this parameter.
    let from = Timestamp(0);
    let told = fault(&Asked { from, parameters: &[("peak-price", "1")], ..ASKED });
    assert!(told.contains("version 1 has no parameter \"peak-price\""), "{told}");
}

#[test]
fn an_undeclared_parameter_is_refused_with_the_nearest_name() {
    let told = fault(&Asked { parameters: &[("peek-price", "1.00")], ..ASKED });
    for said in
        ["version 2", "\"peek-price\"", "did you mean \"peak-price\"?", "it declares peak-price"]
    {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for wrong in ["much", "-1", "", "1.2.3"] {
        let parameters = Vec::leak(vec![("peak-price", wrong)]);
        let told = fault(&Asked { parameters, ..ASKED });
        assert!(told.contains("version 2 can't have these parameters"), "{wrong}: {told}");
        assert!(told.contains("peak-price"), "{wrong}: {told}");
    }
}

/// A version that starts later will also rate the account, so the parameters must fit it too.
#[test]
fn parameters_must_fit_every_later_version() {
    let from = at("2026-02-01T00:00:00Z");
    let later = [plan(1, "2026-01-01", PEAK), plan(2, "2026-06-01", "")];
    let asked = Asked { from, parameters: &[("peak-price", "1.00")], ..ASKED };
    let told = check(&asked, &later).unwrap_err().to_string();
    assert!(told.contains("version 2 has no parameter"), "{told}");
    // A version that is no longer in force at the start, or is superseded by one with the same
    // start, rates no records.
    let over = [plan(1, "2025-01-01", ""), plan(2, "2026-01-01", ""), plan(3, "2026-01-01", PEAK)];
    assert_eq!(check(&asked, &over), Ok(()));
}

#[test]
fn another_currency_is_refused_where_that_of_the_account_is_known() {
    let told = fault(&Asked { currency: "EUR", ..ASKED });
    assert!(told.contains("posts in USD") && told.contains("billed in EUR"), "{told}");
    assert_eq!(check(&Asked { currency: "EUR", zone: None, ..ASKED }, &versions()), Ok(()));
}

/// The content of a version that a newer release published is unknown here, so it is no reason to
/// refuse.
#[test]
fn a_version_that_this_program_cannot_read_is_not_judged() {
    let parameters = [("anything".to_owned(), "x".to_owned())].into();
    let unread = PublishedVersion { version: 1, starts: jiff::civil::date(2026, 1, 1), plan: None };
    let asked = SubscriptionAsked {
        plan_id: "mobile",
        from: ASKED.from,
        parameters: &parameters,
        settings: None,
    };
    let mut never = |_: &Plan, _: &BTreeMap<String, String>| panic!("nothing to compile");
    assert_eq!(check_subscription(&asked, &[unread], ["mobile"].into_iter(), &mut never), Ok(()));
}

/// The length of the message is bounded, whatever the length of the request.
#[test]
fn a_message_is_bounded() {
    let long: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    assert!(fault(&Asked { plan: long, ..ASKED }).len() < 1_000);
    let parameters = Vec::leak(vec![(long, "1")]);
    assert!(fault(&Asked { parameters, ..ASKED }).len() < 1_000);
    let parameters = Vec::leak(vec![("peak-price", long)]);
    assert!(fault(&Asked { parameters, ..ASKED }).len() < 2_000);
}
