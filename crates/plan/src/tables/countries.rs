//! Country codes, and the lengths of telephone numbers after them.
//!
//! Source: the numbering plans of ITU-T (E.164, E.129 and the national notices), in the
//! machine-readable form of Google's libphonenumber 9.0. It lists for each country code the lengths
//! of all fixed, mobile, toll-free and premium numbers. Numbers that are dialled within a local
//! area only, and service numbers such as `112`, are not included. North American numbers have ten
//! digits.

/// The digits of the longest number, its country code included (E.164).
pub(super) const DIGITS_MAX: usize = 15;

/// Country codes, and the lengths of their numbers in digits without the country code.
#[rustfmt::skip]
const COUNTRIES: &[(&[u16], &[u8])] = &[
    (&[1, 52, 58, 225, 229], &[10]),
    (&[7], &[10, 14]),
    (&[20, 60, 855, 856, 964, 970, 976], &[8, 9, 10]),
    (&[27, 64], &[5, 6, 7, 8, 9, 10]),
    (&[30, 234], &[10, 11, 12]),
    (&[31], &[5, 6, 7, 8, 9, 10, 11]),
    (&[32, 36, 51, 213, 224, 233, 237, 250, 258, 264, 268, 377, 382, 387, 591, 962, 963], &[8, 9]),
    (&[33, 34, 93, 94, 211, 212, 218, 221, 240, 242, 244, 249, 251, 255, 256, 260, 261, 262, 351, 590, 594, 596, 979, 992, 994, 995, 998], &[9]),
    (&[39, 381], &[6, 7, 8, 9, 10, 11, 12]),
    (&[40, 508, 681], &[6, 9]),
    (&[41, 870], &[9, 12]),
    (&[43, 49], &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    (&[44, 263], &[7, 9, 10]),
    (&[45, 216, 222, 223, 226, 227, 228, 232, 235, 236, 253, 257, 266, 350, 356, 357, 370, 371, 373, 374, 389, 505, 509, 800, 808, 973, 993], &[8]),
    (&[46], &[6, 7, 8, 9, 10, 12]),
    (&[47, 686], &[5, 8]),
    (&[48, 95, 880], &[6, 7, 8, 9, 10]),
    (&[53], &[6, 7, 8, 10]),
    (&[54], &[10, 11]),
    (&[55, 593], &[8, 9, 10, 11]),
    (&[56], &[9, 10, 11]),
    (&[57, 65, 977], &[8, 10, 11]),
    (&[61], &[5, 6, 7, 8, 9, 10, 12]),
    (&[62], &[7, 8, 9, 10, 11, 12, 13]),
    (&[63], &[6, 8, 9, 10, 11, 12, 13]),
    (&[66], &[8, 9, 10, 13]),
    (&[81, 91], &[8, 9, 10, 11, 12, 13]),
    (&[82], &[5, 6, 8, 9, 10, 11, 12, 13]),
    (&[84, 243, 254, 353], &[7, 8, 9, 10]),
    (&[86, 882, 972], &[7, 8, 9, 10, 11, 12]),
    (&[90], &[7, 10, 12, 13]),
    (&[92, 383, 883], &[8, 9, 10, 11, 12]),
    (&[98], &[4, 5, 6, 7, 10]),
    (&[220, 245, 265, 354, 423], &[7, 9]),
    (&[230, 267, 372], &[7, 8, 10]),
    (&[231, 385, 967, 968], &[7, 8, 9]),
    (&[238, 239, 246, 248, 269, 291, 297, 592, 673, 674, 680, 691, 692], &[7]),
    (&[241, 599, 670, 675, 853, 961, 965, 975], &[7, 8]),
    (&[247], &[5, 6]),
    (&[252, 355], &[6, 7, 8, 9]),
    (&[290], &[4, 5]),
    (&[298, 299, 672, 687], &[6]),
    (&[352], &[4, 5, 6, 7, 8, 9, 10, 11]),
    (&[358, 971], &[5, 6, 7, 8, 9, 10, 11, 12]),
    (&[359], &[6, 7, 8, 9, 12]),
    (&[375, 595], &[6, 7, 8, 9, 10, 11]),
    (&[376, 689], &[6, 8, 9]),
    (&[378, 506, 850], &[8, 10]),
    (&[380, 881, 966, 996], &[9, 10]),
    (&[386], &[5, 6, 7, 8]),
    (&[420], &[9, 10, 11, 12]),
    (&[421], &[6, 7, 9]),
    (&[500, 682], &[5]),
    (&[501, 679], &[7, 11]),
    (&[502, 504], &[8, 11]),
    (&[503], &[7, 8, 11]),
    (&[507], &[7, 8, 10, 11]),
    (&[597], &[6, 7]),
    (&[598], &[4, 5, 6, 7, 8, 9, 10, 11, 12]),
    (&[676, 677, 678], &[5, 7]),
    (&[683], &[4, 7]),
    (&[685], &[5, 6, 7, 10]),
    (&[688], &[5, 6, 7]),
    (&[690], &[4, 5, 6, 7]),
    (&[852], &[5, 6, 7, 8, 9, 11]),
    (&[878], &[12]),
    (&[886], &[7, 8, 9, 10, 11]),
    (&[888], &[11]),
    (&[960], &[7, 10]),
    (&[974], &[7, 8, 9, 11]),
];

/// Country codes whose numbers can begin with 0 after the code, and how these numbers begin (the
/// same source). Everywhere else a 0 after the code is the national prefix, which callers from
/// abroad leave out.
#[rustfmt::skip]
const ZERO_FIRST: &[(&str, &str)] = &[
    ("39", "0"), ("378", "0"), ("47", "0"), ("225", "0"), ("226", "0"), ("229", "01"), ("241", "0"), ("242", "0"),
    ("62", "00"), ("66", "001800"), ("81", "00"), ("82", "00"), ("501", "0800"), ("507", "00800"), ("598", "0004"),
    ("676", "0800"), ("687", "05"),
];

/// The digits that callers in a country dial before national numbers, with the country codes (the
/// same source). Countries without such digits are left out, also Italy, whose 0 is part of its
/// numbers.
#[rustfmt::skip]
const NATIONAL_PREFIXES: &[(&str, &[u16])] = &[
    ("0", &[
        20, 27, 31, 32, 33, 40, 41, 43, 44, 46, 49, 51, 53, 54, 55, 58, 60, 61, 62, 63, 64, 66, 81, 82, 84, 86, 90, 91,
        92, 93, 94, 95, 98, 211, 212, 213, 218, 231, 232, 233, 234, 243, 249, 250, 251, 254, 255, 256, 260, 261, 262,
        263, 264, 265, 291, 353, 355, 358, 359, 373, 374, 380, 381, 382, 383, 385, 386, 387, 389, 421, 590, 593, 594,
        595, 596, 598, 855, 856, 880, 886, 961, 962, 963, 964, 966, 967, 970, 971, 972, 976, 977, 994, 995, 996,
    ]),
    ("06", &[36]),
    ("1", &[1]),
    ("8", &[7, 375, 993]),
];

/// The digits that callers in the country of this code dial before national numbers; `None` if they
/// dial none.
pub(crate) fn national_prefix(country_code: &str) -> Option<&'static str> {
    let code: u16 = country_code.parse().ok()?;
    let mut known = NATIONAL_PREFIXES.iter();
    known.find(|(_, codes)| codes.contains(&code)).map(|(prefix, _)| *prefix)
}

/// Whether numbers of the country can begin as `national` does, which begins with 0.
pub(super) fn begins_with_zero(country_code: &str, national: &str) -> bool {
    let mut known = ZERO_FIRST.iter();
    known.any(|(code, first)| *code == country_code && national.starts_with(first))
}

/// By country code: bit n is set if numbers can have n digits; 0 if no country has the code.
static LENGTHS: [u16; 1000] = by_code();

const fn by_code() -> [u16; 1000] {
    let mut all = [0; 1000];
    let mut row = 0;
    while row < COUNTRIES.len() {
        let (codes, lengths) = COUNTRIES[row];
        let (mut bits, mut at) = (0u16, 0);
        while at < lengths.len() {
            bits |= 1 << lengths[at];
            at += 1;
        }
        let mut at = 0;
        while at < codes.len() {
            all[codes[at] as usize] = bits;
            at += 1;
        }
        row += 1;
    }
    all
}

/// The possible lengths of the numbers of a country, as a bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths(u16);

impl Lengths {
    pub(super) const fn holds(self, digits: usize) -> bool {
        digits <= DIGITS_MAX && self.0 >> digits & 1 == 1
    }

    pub(super) const fn min(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    /// The lengths as text, such as `7, 9 or 10`.
    pub(super) fn words(self) -> String {
        let mut all: Vec<String> = Vec::new();
        let mut digits = 1;
        while digits <= DIGITS_MAX {
            let from = digits;
            while self.holds(digits) {
                digits += 1;
            }
            match digits - from {
                0 => {}
                1 => all.push(from.to_string()),
                2 => all.extend([from.to_string(), (from + 1).to_string()]),
                _ => all.push(format!("{from} to {}", digits - 1)),
            }
            digits += 1;
        }
        match all.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    }
}

/// The length in digits of the country code with which a number begins, and the lengths of the
/// country's numbers; `None` if no country has such a code. No code is a prefix of another code.
pub(super) fn country(digits: &[u8]) -> Option<(usize, Lengths)> {
    let mut code = 0usize;
    for (at, digit) in digits.iter().take(3).enumerate() {
        code = code * 10 + usize::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        // No code begins with 0: `07` is not the code 7.
        if at == 0 && code == 0 {
            return None;
        }
        match LENGTHS.get(code) {
            Some(&bits) if bits != 0 => return Some((at + 1, Lengths(bits))),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_country_code_is_a_prefix_of_another_one_and_each_is_listed_once() {
        let mut codes: Vec<u16> = COUNTRIES.iter().flat_map(|(codes, _)| *codes).copied().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert!(count > 200);
        for code in &codes {
            let text = code.to_string();
            let within = |other: &&u16| {
                let other = other.to_string();
                other != text && text.starts_with(&other)
            };
            assert_eq!(codes.iter().find(within), None, "{code}");
            assert_eq!(country(text.as_bytes()).unwrap().0, text.len());
        }
    }

    #[test]
    fn no_number_is_longer_than_15_digits() {
        for (codes, lengths) in COUNTRIES {
            for code in *codes {
                let longest = usize::from(*lengths.last().unwrap()) + code.to_string().len();
                assert!(longest <= DIGITS_MAX, "{code}");
                assert!(lengths.is_sorted() && lengths[0] > 0, "{code}");
            }
        }
    }

    #[test]
    fn tables_of_prefixes_name_known_countries_once() {
        let of = |code: &str| country(code.as_bytes()).map(|(digits, _)| digits);
        for (code, first) in ZERO_FIRST {
            assert_eq!(of(code), Some(code.len()), "{code}");
            assert!(first.starts_with('0'), "{code}");
        }
        let mut codes: Vec<u16> =
            NATIONAL_PREFIXES.iter().flat_map(|(_, codes)| *codes).copied().collect();
        for code in &codes {
            assert_eq!(of(&code.to_string()), Some(code.to_string().len()), "{code}");
        }
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(national_prefix("49"), Some("0"));
        assert_eq!(national_prefix("45"), None);
        assert_eq!(national_prefix("39"), None);
    }

    #[test]
    fn lengths_are_written_in_words() {
        let of = |digits: &str| country(digits.as_bytes()).unwrap().1;
        assert_eq!(of("447700900123").words(), "7, 9 or 10");
        assert_eq!(of("12125550100").words(), "10");
        assert_eq!(of("3906").words(), "6 to 12");
        assert!(of("44").holds(10) && !of("44").holds(11) && of("44").min() == 7);
        assert_eq!(country(b"0044"), None);
        assert_eq!(country(b"999"), None);
        assert_eq!(country(b"4"), None);
    }
}
