//! Telephone numbers in the notations that sources of usage write: each number is priced as the
//! number that it means, or suspended with the number in the detail. No number is priced as another
//! one.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::cycles::Billed;
use support::{causes, plan, session};
use turnpike_plan::{Cause, parse};
use turnpike_types::{SuspenseReason, UsageRecord};

const DIALS: &str = "# turnpike-table id=dial kind=dial-plan version=1 starts=2026-01-01
prefix,destination,price,per,setup
1,NANP,0.01,1 min,
44,UK,0.02,1 min,0.05
447,UK mobile,0.09,1 min,
44118118,Directory,2.50,1 min,
";

fn account(attributes: &str) -> Billed {
    let graph = format!(
        r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
        <E164DialPlanRater id="dial" in="calls.pass" table="dial" {attributes}/>
        <AccountFinalizer id="post" in="dial.charge"/>"#
    );
    Billed::with_tables(&plan(&graph), "UTC", &[DIALS])
}

fn call(number: &str) -> UsageRecord {
    let mut record = session("call", "2026-11-01T01:00:00Z", "2026-11-01T01:01:00Z");
    record.attributes.insert("called".to_owned(), number.to_owned());
    record
}

/// The cost of one minute; an error with the reason when suspended.
fn minute(account: &mut Billed, number: &str) -> Result<String, SuspenseReason> {
    let rated = account.rate(&call(number))?;
    Ok(account.shown(&rated.lines[0]).2)
}

const BRITAIN: &str = r#"country-code="44" international-prefix="00" national-prefix="0""#;
const AMERICA: &str = r#"country-code="1" international-prefix="011" national-prefix="1""#;
const FEED: &str = r#"numbers="international""#;
const FEED_00: &str = r#"numbers="international" international-prefix="00""#;

/// Texts that are not telephone numbers.
const NONE: [&str; 14] = [
    "٠٠٤٤٧٧٠٠٩٠٠١٢٣",
    "＋４４７７００９００１２３",
    "tel:+447700900123",
    "sip:+447700900123@h",
    "*31#00447700900123",
    "00",
    "+",
    "+44",
    "7700900123p1",
    "+447700900123;ext=5",
    "\u{202a}+447700900123\u{202c}",
    "447700900123.0",
    "4.477E+11",
    "",
];

#[test]
fn a_feed_of_international_numbers_needs_no_plus() {
    let mut feed = account(FEED);
    for mobile in ["447700900123", "+447700900123", "+44 (0)7700 900123", "44 7700 900123"] {
        assert_eq!(minute(&mut feed, mobile).as_deref(), Ok("0.090000000"), "{mobile}");
    }
    assert_eq!(minute(&mut feed, "12125550100").as_deref(), Ok("0.010000000"));
    let mut with_prefix = account(FEED_00);
    for mobile in ["00447700900123", "00 44 7700 900123", "447700900123"] {
        assert_eq!(minute(&mut with_prefix, mobile).as_deref(), Ok("0.090000000"), "{mobile}");
        assert_eq!(minute(&mut feed, mobile).is_ok(), !mobile.starts_with('0'), "{mobile}");
    }
}

#[test]
fn an_invalid_number_suspends_the_record_in_every_reading() {
    for plan in [BRITAIN, AMERICA, FEED, FEED_00] {
        let mut account = account(plan);
        for number in NONE {
            let outcome = minute(&mut account, number);
            assert_eq!(outcome, Err(SuspenseReason::BadAttribute), "{plan} {number:?}");
        }
    }
}

#[test]
fn a_number_of_another_form_than_the_plan_reads_is_not_priced_as_another_number() {
    let mobile = Ok("0.090000000".to_owned());
    let mut britain = account(BRITAIN);
    for number in ["+447700900123", "00447700900123", "+44 (0)7700 900123", "00 44 7700 900123"] {
        assert_eq!(minute(&mut britain, number), mobile, "{number}");
    }
    assert_eq!(minute(&mut britain, "07700 900123"), mobile);
    assert_eq!(minute(&mut britain, "447700900123"), Err(SuspenseReason::BadAttribute));
    let mut america = account(AMERICA);
    assert_eq!(minute(&mut america, "+447700900123"), mobile);
    assert_eq!(minute(&mut america, "011 44 7700 900123"), mobile);
    for number in ["447700900123", "00447700900123", "0044 7700 900123"] {
        assert_eq!(minute(&mut america, number), Err(SuspenseReason::BadAttribute), "{number}");
    }
}

/// The detail of a suspended record contains the number as written, the number as normalised, and
/// the fault.
#[test]
fn a_number_that_waits_is_named() {
    let mut britain = account(BRITAIN);
    let mut why = |number: &str| {
        let reason = minute(&mut britain, number).unwrap_err();
        (reason, britain.rater.detail(reason).to_string())
    };
    let (reason, long) = why("447700900123");
    assert_eq!(reason, SuspenseReason::BadAttribute);
    for part in ["called", "447700900123", "12 digits", "7, 9 or 10"] {
        assert!(long.contains(part), "{long}");
    }
    let (reason, nowhere) = why("+886 2 1234 5678");
    assert_eq!(reason, SuspenseReason::NoPrefix);
    assert!(nowhere.contains("+886212345678"), "{nowhere}");
    let (_, cut) = why(&"9".repeat(5_000));
    assert!(cut.len() < 300, "{cut}");
    let mut nameless = call("");
    nameless.attributes.clear();
    assert_eq!(britain.rate(&nameless), Err(SuspenseReason::MissingInput));
    let about = britain.rater.detail(SuspenseReason::MissingInput);
    assert_eq!(about.to_string(), "record.called");
    assert!(britain.rate(&call("+447700900123")).is_ok());
    assert_eq!(britain.rater.detail(SuspenseReason::MissingInput).to_string(), "");
}

/// In a country with numbers of many lengths, a British number without + is valid also as a
/// national one. It is priced as neither.
#[test]
fn a_number_of_another_country_is_not_priced_as_a_national_one() {
    let dials = format!("{DIALS}49,Germany,0.03,1 min,\n43,Austria,0.04,1 min,\n");
    for (code, national) in [("49", "0.030000000"), ("43", "0.040000000")] {
        let home =
            format!(r#"country-code="{code}" international-prefix="00" national-prefix="0""#);
        let billed = |more: &str| {
            let graph = format!(
                r#"<E164DialPlanRater id="dial" in="record.duration" table="dial" {home} {more}/>
                <AccountFinalizer id="post" in="dial.charge"/>"#
            );
            Billed::with_tables(&plan(&graph), "UTC", &[&dials])
        };
        let mut account = billed("");
        let refused = Err(SuspenseReason::BadAttribute);
        assert_eq!(minute(&mut account, "447700900123"), refused, "{code}");
        let about = account.rater.detail(SuspenseReason::BadAttribute).to_string();
        for part in ["\"447700900123\"", "+447700900123", "00447700900123", "0447700900123"] {
            assert!(about.contains(part), "{part}: {about}");
        }
        for foreign in ["+447700900123", "00447700900123"] {
            assert_eq!(minute(&mut account, foreign).as_deref(), Ok("0.090000000"), "{foreign}");
        }
        for own in ["0447700900123", "9012345678", "09012345678"] {
            assert_eq!(minute(&mut account, own).as_deref(), Ok(national), "{own}");
        }
        let mut told = billed(r#"ambiguous="national""#);
        assert_eq!(minute(&mut told, "447700900123").as_deref(), Ok(national));
        assert_eq!(minute(&mut told, "+447700900123").as_deref(), Ok("0.090000000"));
    }
}

#[test]
fn a_service_number_is_priced_where_the_dial_plan_names_it_whole() {
    let mut britain = account(BRITAIN);
    assert_eq!(minute(&mut britain, "118118").as_deref(), Ok("2.500000000"));
    for short in ["118119", "999", "447", "7", "0118118", "+44118118"] {
        assert_eq!(minute(&mut britain, short), Err(SuspenseReason::BadAttribute), "{short}");
    }
}

#[test]
fn a_plan_says_how_numbers_are_read_or_is_refused() {
    let dial = |attributes: &str| {
        plan(&format!(
            "<E164DialPlanRater id=\"dial\" in=\"record.duration\" table=\"dial\" {attributes}/>\n<AccountFinalizer id=\"post\" in=\"dial.charge\"/>"
        ))
    };
    for (attributes, cause) in [
        ("", Cause::MissingProperty),
        (r#"country-code="44""#, Cause::MissingProperty),
        (r#"international-prefix="00""#, Cause::MissingProperty),
        (r#"country-code="44" international-prefix="""#, Cause::BadValue),
        (r#"numbers="international" country-code="44""#, Cause::BadValue),
        (r#"numbers="international" international-prefix="+""#, Cause::BadValue),
        (r#"numbers="international" ambiguous="national""#, Cause::BadValue),
        (r#"country-code="44" international-prefix="00" ambiguous="yes""#, Cause::BadValue),
        (r#"numbers="e164""#, Cause::BadValue),
    ] {
        let found = causes(&dial(attributes));
        assert!(found.iter().all(|(line, id, _)| (*line, id.as_str()) == (3, "dial")));
        assert!(found.iter().any(|(.., found)| *found == cause), "{attributes}: {found:?}");
    }
    let told = parse(&dial("")).unwrap_err().to_string();
    assert!(told.contains("numbers=\"international\""), "{told}");
}

/// Without the prefix of its country, a plan reads `030 1234567` as +49 030 1234567.
#[test]
fn a_plan_without_the_national_prefix_of_its_country_is_warned_of() {
    let told = |attributes: &str| {
        support::warnings(&plan(&format!(
            "<E164DialPlanRater id=\"dial\" in=\"record.duration\" table=\"dial\" international-prefix=\"00\" {attributes}/>\n<AccountFinalizer id=\"post\" in=\"dial.charge\"/>"
        )))
    };
    let germany = told(r#"country-code="49""#);
    assert!(
        germany.iter().any(|text| text.contains(r#"write national-prefix="0""#)),
        "{germany:?}"
    );
    for silent in [
        r#"country-code="49" national-prefix="0""#,
        r#"country-code="49" national-prefix="none""#,
        r#"country-code="45""#,
        r#"country-code="49" national-prefix="0" ambiguous="national""#,
    ] {
        let said = told(silent);
        assert!(!said.iter().any(|text| text.contains("national-prefix")), "{silent}: {said:?}");
    }
    let idle = told(r#"country-code="45" ambiguous="national""#);
    assert!(idle.iter().any(|text| text.contains("ambiguous has no effect")), "{idle:?}");
}

/// The detail of the reason, which is cut after 120 bytes, holds the number to write.
#[test]
fn a_national_prefix_behind_the_country_code_is_suspended_with_the_number_to_write() {
    let home = r#"country-code="49" international-prefix="00" national-prefix="0""#;
    let mut germany = account(home);
    for number in ["+49 (030) 123 456 789 0", "0049 - 0301234567890", "0 (0)301234567890"] {
        assert_eq!(minute(&mut germany, number), Err(SuspenseReason::BadAttribute), "{number}");
        let about = germany.rater.detail(SuspenseReason::BadAttribute).to_string();
        assert!(about.ends_with("is not part of it: write +49301234567890"), "{number}: {about}");
    }
}
