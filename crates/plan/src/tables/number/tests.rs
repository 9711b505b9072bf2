use super::*;

fn home(country: &str, international: &str, national: &str) -> HomePlan {
    HomePlan::new(country, international, national).unwrap()
}

fn digits(number: &str, home: &HomePlan) -> String {
    normalise(number, home).unwrap().as_str().to_owned()
}

#[test]
fn a_number_is_read_as_its_country_dials() {
    let britain = home("44", "00", "0");
    assert_eq!(digits("020 7946 0000", &britain), "442079460000");
    assert_eq!(digits("(020) 7946-0000", &britain), "442079460000");
    assert_eq!(digits("2079460000", &britain), "442079460000");
    assert_eq!(digits("00 1 212 555 0100", &britain), "12125550100");
    assert_eq!(digits("+1.212.555.0100", &britain), "12125550100");
    let america = home("1", "011", "1");
    assert_eq!(digits("1 (212) 555-0100", &america), "12125550100");
    assert_eq!(digits("212 555 0100", &america), "12125550100");
    assert_eq!(digits("011 44 20 7946 0000", &america), "442079460000");
    let denmark = home("45", "00", "");
    assert_eq!(digits("32 12 34 56", &denmark), "4532123456");
}

/// docs/plan-semantics.md section 8: Italy keeps its 0.
#[test]
fn italy_keeps_its_0_by_default() {
    let italy = home("39", "00", "0");
    assert_eq!(digits("06 698 1234", &italy), "39066981234");
    assert_eq!(digits("347 123 4567", &italy), "393471234567");
    assert_eq!(digits("0044 20 7946 0000", &italy), "442079460000");
    assert_eq!(digits("06 698", &italy.keeping_national_prefix(false)), "396698");
    let kept = home("44", "00", "0").keeping_national_prefix(true);
    assert_eq!(digits("020", &kept), "44020");
}

#[test]
fn a_plus_wins_over_every_prefix() {
    assert_eq!(digits("+0044", &home("44", "00", "0")), "0044");
    assert_eq!(digits(" (+1) 1", &home("1", "011", "1")), "11");
}

#[test]
fn an_invalid_number_is_refused_by_name() {
    let britain = home("44", "00", "0");
    for empty in ["", "+", "00", "0", " - ", "()."] {
        assert_eq!(normalise(empty, &britain), Err(BadNumber::Empty), "{empty}");
    }
    assert!(normalise("+123456789012345", &britain).is_ok());
    assert_eq!(normalise("+1234567890123456", &britain), Err(BadNumber::TooLong));
    assert_eq!(normalise("12345678901234", &britain), Err(BadNumber::TooLong));
    for (text, strange) in [("44+1", '+'), ("++44", '+'), ("1-800-FLY", 'F'), ("٣", '٣')] {
        assert_eq!(normalise(text, &britain), Err(BadNumber::Character(strange)), "{text}");
    }
}

#[test]
fn a_home_plan_that_no_country_has_is_refused() {
    for (country, international, national) in [
        ("", "00", "0"),
        ("4444", "00", "0"),
        ("044", "00", "0"),
        ("+44", "00", "0"),
        ("44", "", "0"),
        ("44", "+", "0"),
        ("44", "00", "o"),
        ("44", "0", "0"),
        ("44", "00", "001"),
    ] {
        assert!(HomePlan::new(country, international, national).is_err(), "{country}");
    }
}

fn whole(number: &str, reading: &NumberReading) -> Result<String, BadNumber> {
    match read(number, reading)? {
        Number::Whole(digits) => Ok(digits.as_str().to_owned()),
        Number::Service(_, fault) => Err(fault),
    }
}

#[test]
fn an_international_number_needs_no_plus() {
    let feed = NumberReading::International { prefix: "00".into() };
    for number in [
        "447700900123",
        "+447700900123",
        "00447700900123",
        "00 44 7700 900123",
        "+44 (0)7700 900123",
        "44 (0)7700 900123",
        "0044(0)7700900123",
    ] {
        assert_eq!(whole(number, &feed).as_deref(), Ok("447700900123"), "{number}");
    }
    let bare = NumberReading::International { prefix: "".into() };
    assert!(matches!(whole("00447700900123", &bare), Err(BadNumber::NoCountry(_))));
    assert!(matches!(whole("07700900123", &feed), Err(BadNumber::NoCountry(_))));
    // 81 is the country code of Japan, and not part of the prefix 810.
    let odd = NumberReading::International { prefix: "810".into() };
    assert_eq!(whole("81312345678", &odd).as_deref(), Ok("81312345678"));
}

#[test]
fn the_prefix_in_parentheses_is_part_of_italian_numbers() {
    let feed = NumberReading::International { prefix: "".into() };
    assert_eq!(whole("+39 (0)6 698 1234", &feed).as_deref(), Ok("39066981234"));
    let kept = NumberReading::Dialled(home("49", "00", "0").keeping_national_prefix(true));
    assert_eq!(whole("+49 (0)30 123456", &kept).as_deref(), Ok("49030123456"));
    assert_eq!(whole("+44 (0)20 7946 0000", &kept).as_deref(), Ok("442079460000"));
}

#[test]
fn a_number_that_is_too_short_or_too_long_for_its_country_is_refused() {
    let britain = NumberReading::Dialled(home("44", "00", "0"));
    for number in [
        "447700900123",
        "+44",
        "+44 7700 90",
        "+44 7700 900123 4",
        "+1 555 0100",
        "+1 212 555 01001",
        "00 1 212 555 010",
        "+800 1234 567",
    ] {
        let told = whole(number, &britain).unwrap_err();
        assert!(matches!(told, BadNumber::Length(..)), "{number}: {told}");
    }
    assert_eq!(
        whole("447700900123", &britain).unwrap_err().to_string(),
        "as +44 447700900123 it has 12 digits, not 7, 9 or 10"
    );
    assert!(matches!(whole("+999 123 4567", &britain), Err(BadNumber::NoCountry(_))));
    let america = NumberReading::Dialled(home("1", "011", "1"));
    for number in ["447700900123", "00447700900123", "555 0100", "00"] {
        assert!(matches!(whole(number, &america), Err(BadNumber::Length(..))), "{number}");
    }
}

#[test]
fn a_number_altered_by_a_spreadsheet_is_refused() {
    let germany = NumberReading::Dialled(home("49", "00", "0"));
    for number in ["493012345678.0", "+493012345678.00", " 03012345678.0 "] {
        assert_eq!(whole(number, &germany), Err(BadNumber::Decimal), "{number}");
    }
    assert_eq!(whole("4.93E+11", &germany), Err(BadNumber::Character('E')));
    assert_eq!(whole("+1.800.555.0000", &germany).as_deref(), Ok("18005550000"));
}

#[test]
fn a_number_that_may_be_national_or_international_is_refused() {
    let germany = NumberReading::Dialled(home("49", "00", "0"));
    let own = whole("493012345678", &germany).unwrap_err();
    assert_eq!(
        own.to_string(),
        "national or international? write +493012345678, 00493012345678 or 0493012345678"
    );
    assert_eq!(whole("0493012345678", &germany).as_deref(), Ok("49493012345678"));
    assert_eq!(whole("3012345678", &germany).as_deref(), Ok("493012345678"));
    // Some Italian mobile numbers begin with 39, the country code of Italy.
    let italy = NumberReading::Dialled(home("39", "00", "0"));
    assert_eq!(whole("392 123 4567", &italy).as_deref(), Ok("393921234567"));
}

/// Whether the home country reads a number as ambiguous.
fn is_ambiguous(number: &str, home: &HomePlan) -> bool {
    matches!(whole(number, &NumberReading::Dialled(home.clone())), Err(BadNumber::Ambiguous(_)))
}

/// In a country with numbers of many lengths, a number of another country without + is valid also
/// as a national one.
#[test]
fn a_number_of_another_country_without_a_prefix_is_refused() {
    for code in ["49", "43", "39", "81", "62"] {
        let home = home(code, "00", "0");
        assert!(is_ambiguous("447700900123", &home), "{code}");
        assert!(
            whole("44 (0)7700 900123", &NumberReading::Dialled(home.clone())).is_err(),
            "{code}"
        );
        for certain in ["+447700900123", "00447700900123", "0447700900123"] {
            assert!(!is_ambiguous(certain, &home), "{code} {certain}");
        }
        assert!(!is_ambiguous("447700900123", &home.national_if_ambiguous()), "{code}");
    }
    let germany = home("49", "00", "0");
    assert!(is_ambiguous("12125550100", &germany));
    // These numbers are too short for Greece (30).
    assert!(!is_ambiguous("3012345678", &germany) && !is_ambiguous("30123456", &germany));
    let britain = home("44", "00", "0");
    assert!(is_ambiguous("2079460000", &britain), "+20 7946 0000 is a number of Egypt");
    assert!(!is_ambiguous("7700900123", &britain) && !is_ambiguous("02079460000", &britain));
    // Without a national prefix, national numbers are dialled as they are.
    assert!(!is_ambiguous("447700900123", &home("49", "00", "")));
}

#[test]
fn a_number_that_a_country_writes_without_its_prefix_is_national() {
    let america = home("1", "011", "1");
    for number in ["202 555 0100", "(450) 234-5678", "1 202 555 0100", "212 555 0100"] {
        assert!(!is_ambiguous(number, &america), "{number}");
    }
    // No exchange begins with 1: this is a number of Denmark.
    assert!(is_ambiguous("4511123456", &america));
    let italy = home("39", "00", "0");
    for number in ["320 123 4567", "392 123 4567", "800 123456", "848 800 123", "06 698 1234"] {
        assert!(!is_ambiguous(number, &italy), "{number}");
    }
    let told = whole("447700900123", &NumberReading::Dialled(italy)).unwrap_err().to_string();
    assert!(told.ends_with("write +447700900123, 00447700900123 or +39447700900123"), "{told}");
}

#[test]
fn a_short_number_that_is_dialled_as_it_is_may_be_a_service_number() {
    let britain = NumberReading::Dialled(home("44", "00", "0"));
    let service = read("118118", &britain);
    assert!(matches!(service, Ok(Number::Service(digits, _)) if digits.as_str() == "44118118"));
    for number in ["12", "0118118", "+44118118", "0044118118"] {
        assert!(matches!(read(number, &britain), Err(BadNumber::Length(..))), "{number}");
    }
}

#[test]
fn a_word_that_resembles_a_number_is_refused() {
    for reading in [
        NumberReading::Dialled(home("44", "00", "0")),
        NumberReading::International { prefix: "00".into() },
    ] {
        for number in [
            "",
            "+",
            "00",
            "\u{660}\u{660}\u{664}\u{664}",
            "\u{ff0b}\u{ff14}\u{ff14}",
            "tel:+447700900123",
            "sip:+447700900123@h",
            "*31#00447700900123",
            "7700900123p1",
            "+447700900123;ext=5",
            "\u{202a}+447700900123\u{202c}",
            "anonymous",
        ] {
            assert!(whole(number, &reading).is_err(), "{number}");
        }
        let endless = "4".repeat(100_000);
        assert_eq!(whole(&endless, &reading), Err(BadNumber::TooLong));
    }
}

/// Germany and Austria have numbers of many lengths, so that the length does not tell the prefix
/// that callers from abroad leave out.
#[test]
fn a_national_prefix_behind_the_country_code_is_refused_with_the_number_to_write() {
    let germany = NumberReading::Dialled(home("49", "00", "0"));
    let feed = NumberReading::International { prefix: "00".into() };
    for (number, reading, write) in [
        ("+49030123456", &germany, "write +4930123456"),
        ("0043 01 5131234", &germany, "write +4315131234"),
        ("0(0)30123456", &germany, "write +4930123456"),
        ("+44 020 7946 000", &germany, "write +44207946000"),
        ("+44 020 7946 0000", &germany, "write +442079460000"),
        ("49030123456", &feed, "write +4930123456"),
        ("0049030123456", &feed, "write +4930123456"),
    ] {
        let told = whole(number, reading).unwrap_err();
        assert!(matches!(told, BadNumber::PrefixInside(..)), "{number}: {told}");
        assert!(told.to_string().ends_with(write), "{number}: {told}");
    }
    for (number, reading, digits) in [
        ("+39 06 698 1234", &germany, "39066981234"),
        ("+378 0549 882914", &feed, "3780549882914"),
        ("+225 01 23 45 67 89", &germany, "2250123456789"),
        ("+49 (0)30 123456", &germany, "4930123456"),
    ] {
        assert_eq!(whole(number, reading).as_deref(), Ok(digits), "{number}");
    }
    let kept = NumberReading::Dialled(home("49", "00", "0").keeping_national_prefix(true));
    assert_eq!(whole("030 123456", &kept).as_deref(), Ok("49030123456"));
    assert!(whole("+43 01 5131234", &kept).is_err(), "only the home country keeps it");
}
