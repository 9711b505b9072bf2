use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> String {
    Identity::parse(text).unwrap().into()
}

fn refused(text: &str) -> String {
    Identity::parse(text).unwrap_err().to_string()
}

#[test]
fn an_identity_has_one_canonical_spelling() {
    for (text, canonical) in [
        ("ip:2001:DB8:0:0::77", "ip:2001:db8::77"),
        ("ip:2001:0db8:0000:0000:0000:0000:0000:0077", "ip:2001:db8::77"),
        ("ip:::ffff:198.51.100.8", "ip:198.51.100.8"),
        ("ip:::FFFF:c633:6408", "ip:198.51.100.8"),
        ("ip:198.51.100.9/32", "ip:198.51.100.9"),
        ("ip:2001:DB8::9/128", "ip:2001:db8::9"),
        ("ip:198.51.100.8/29", "ip:198.51.100.8/29"),
        ("ip:2001:DB8:0:100::/56", "ip:2001:db8:0:100::/56"),
        ("ip:::ffff:198.51.100.8/125", "ip:198.51.100.8/29"),
        ("ip:::ffff:198.51.100.8/128", "ip:198.51.100.8"),
        ("ip:0.0.0.0/0", "ip:0.0.0.0/0"),
        ("ip:::/0", "ip:::/0"),
        ("user:Alice Smith", "user:Alice Smith"),
        ("user:alice", "user:alice"),
        ("tel:+41 44 123-45.67", "tel:+41441234567"),
        ("tel:(044) 123 45 67", "tel:0441234567"),
        ("tel:1", "tel:1"),
        ("tel:+44 (0)20 7946 0000", "tel:+442079460000"),
        ("tel:+44(0)20-7946-0000", "tel:+442079460000"),
        ("tel:+353 (0)1 234 5678", "tel:+35312345678"),
        ("tel:+39 (0)6 698 1234", "tel:+39066981234"),
        ("tel:(0)44 123 45 67", "tel:0441234567"),
    ] {
        assert_eq!(read(text), canonical, "{text}");
        assert_eq!(read(canonical), canonical, "the canonical spelling is unchanged");
    }
}

#[test]
fn an_invalid_identity_is_refused_with_a_remedy() {
    for (text, word) in [
        ("ip:not-an-address", "user:NAME"),
        ("ip:", "ip:192.0.2.1"),
        ("ip:192.0.2", "ip:192.0.2.1"),
        ("ip:192.0.2.256", "ip:192.0.2.1"),
        ("ip:192.0.2.01", "ip:192.0.2.1"),
        ("ip: 192.0.2.1", "ip:192.0.2.1"),
        ("ip:192.0.2.1:443", "ip:192.0.2.1"),
        ("ip:[2001:db8::1]", "ip:192.0.2.1"),
        ("ip:fe80::1%eth0", "without %ZONE"),
        ("ip:fe80::1%1/64", "without %ZONE"),
        ("ip:198.51.100.9/29", "ip:198.51.100.8/29 for the prefix, or ip:198.51.100.9 for"),
        ("ip:2001:db8::1/56", "ip:2001:db8::/56 for the prefix, or ip:2001:db8::1 for"),
        ("ip:::ffff:198.51.100.9/125", "ip:198.51.100.8/29"),
        ("ip:::ffff:198.51.100.9/64", "ip:::/64"),
        ("ip:198.51.100.8/33", "/0 to /32"),
        ("ip:2001:db8::/129", "/0 to /128"),
        ("ip:198.51.100.8/", "/0 to /32"),
        ("ip:198.51.100.8/+29", "/0 to /32"),
        ("ip:198.51.100.8/029", "/0 to /32"),
        ("ip:198.51.100.8/29/1", "/0 to /32"),
        ("user:", "user:NAME"),
        ("user:a\nb", "control"),
        ("user:a\0b", "control"),
        ("tel:", "tel:+41441234567"),
        ("tel:+", "tel:+41441234567"),
        ("tel:41+44", "+ in front"),
        ("tel:anna", "digits"),
        ("tel:0044 (0)20 7946 0000", "with + and its country code"),
        ("tel:+442 (0)79460000", "without (0)"),
        ("tel:+44 (0)20 (0)7946", "without (0)"),
        ("alice", "user:NAME"),
        ("IP:192.0.2.1", "ip:ADDRESS"),
        ("", "user:NAME"),
    ] {
        let why = refused(text);
        assert!(why.contains(word), "{text}: {why}");
    }
    assert!(refused(&format!("user:{}", "x".repeat(252))).contains("at most 256"));
    assert!(refused(&format!("ip:{}", "x".repeat(200))).len() < 400, "messages stay short");
}

/// Stored data may hold any prefix, so [`Identity::parse`] accepts it.
#[test]
fn a_prefix_of_too_many_addresses_can_not_be_bound() {
    for wide in ["ip:0.0.0.0/0", "ip:::/0", "ip:::ffff:0.0.0.0/96", "ip:2.0.0.0/7", "ip:2000::/15"]
    {
        let why = Identity::parse_bound(wide).unwrap_err().to_string();
        assert!(why.contains(wide) && (why.contains("/8") || why.contains("/16")), "{why}");
        assert!(Identity::parse(wide).is_ok(), "{wide}");
    }
    for fine in ["ip:10.0.0.0/8", "ip:2001::/16", "ip:::ffff:10.0.0.0/104", "ip:::1", "user:a"] {
        assert_eq!(Identity::parse_bound(fine), Identity::parse(fine), "{fine}");
    }
    assert!(Identity::parse_bound("ip:10.0.0.1/8").is_err(), "bits after the prefix");
}

#[test]
fn a_record_names_one_address() {
    assert_eq!(Identity::parse_single("ip:192.0.2.1/32").unwrap().as_str(), "ip:192.0.2.1");
    let why = Identity::parse_single("ip:192.0.2.0/24").unwrap_err().to_string();
    assert!(why.contains("one address"), "{why}");
}

#[test]
fn no_ipv6_prefix_holds_an_ipv4_address() {
    let address = Identity::parse("ip:::ffff:192.0.2.1").unwrap();
    let mut prefixes = address.prefixes(PrefixLengths::ALL);
    assert!(prefixes.all(|prefix| prefix.as_str().contains('.')), "{address}");
}

/// An IPv6 address in one of the forms that people and programs write.
fn spelled(address: Ipv6Addr, style: u8) -> String {
    let groups = address.segments();
    let each = |write: &dyn Fn(u16) -> String| groups.map(write).join(":");
    match style % 4 {
        0 => each(&|group| format!("{group:04x}")),
        1 => each(&|group| format!("{group:X}")),
        2 => address.to_string().to_uppercase(),
        _ => {
            let [.., high, low] = groups;
            let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
            let front: Vec<String> = groups[..6].iter().map(|group| format!("{group:x}")).collect();
            format!("{}:{v4}", front.join(":"))
        }
    }
}

proptest! {
    #[test]
    fn every_spelling_of_an_address_is_one_identity(
        bits in prop_oneof![
            any::<u128>(),
            any::<u32>().prop_map(|v4| Ipv4Addr::from_bits(v4).to_ipv6_mapped().to_bits()),
            any::<u16>().prop_map(u128::from),
        ],
        style in 0u8..4,
    ) {
        let address = Ipv6Addr::from_bits(bits);
        let text = format!("ip:{}", spelled(address, style));
        let expected = Identity::of_address(IpAddr::V6(address));
        prop_assert_eq!(Identity::parse(&text).unwrap(), expected.clone());
        prop_assert_eq!(Identity::parse(expected.as_str()).unwrap(), expected);
    }

    /// Each prefix is compared bit by bit with the address.
    #[test]
    fn the_prefixes_of_an_address_are_those_that_hold_it(bits in any::<u128>(), is_v4: bool) {
        let (address, width) = if is_v4 {
            (IpAddr::V4(Ipv4Addr::from_bits(bits as u32)), 32u32)
        } else {
            (IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127)), 128)
        };
        let found: Vec<Identity> =
            Identity::of_address(address).prefixes(PrefixLengths::ALL).collect();
        prop_assert_eq!(found.len(), width as usize);
        for (identity, length) in found.iter().zip((0..width).rev()) {
            let again = Identity::parse(identity.as_str()).unwrap();
            prop_assert_eq!(&again, identity);
            let (v4, found) = identity.prefix_length().unwrap();
            prop_assert_eq!((v4, u32::from(found)), (is_v4, length));
            let network: IpAddr =
                identity.as_str()[3..].split('/').next().unwrap().parse().unwrap();
            let differs = match (address, network) {
                (IpAddr::V4(a), IpAddr::V4(n)) => u128::from(a.to_bits() ^ n.to_bits()),
                (IpAddr::V6(a), IpAddr::V6(n)) => a.to_bits() ^ n.to_bits(),
                mixed => panic!("{mixed:?}"),
            };
            prop_assert!(differs.leading_zeros() >= 128 - width + length);
        }
    }

    #[test]
    fn any_text_is_an_identity_or_refused_and_never_a_panic(text in "(ip:|user:|tel:)?\\PC{0,40}") {
        if let Ok(identity) = Identity::parse(&text) {
            prop_assert_eq!(&Identity::parse(identity.as_str()).unwrap(), &identity);
            prop_assert!(identity.as_str().len() <= text.len() + 1, "{}", identity);
        }
    }
}

/// The international prefix differs by country, so that `00` is not read as `+`: a binding with it
/// would wait for usage that arrives with `+`.
#[test]
fn a_number_with_an_international_prefix_is_not_bound() {
    for text in ["tel:00442079460000", "tel:00 44 20 7946 0000"] {
        let told = Identity::parse_bound(text).unwrap_err().to_string();
        assert!(told.contains("write tel:+442079460000"), "{told}");
        assert_eq!(read(text), "tel:00442079460000", "a binding of an earlier release stays valid");
    }
    assert!(Identity::parse_bound("tel:0207946000").is_ok());
}
