//! The rules of a classifier. A rule holds if all its conditions hold.

use turnpike_types::SuspenseReason;

use crate::compile::build::Builder;
use crate::compile::check::no_time;
use crate::language::findings::{Cause, Refused};
use crate::language::measure::{Quantity, Unit, is_of_bytes, plural};
use crate::machine::code::Evaluation;
use crate::machine::evaluation::places::{Attribute, TypeOf};

/// A usage type, and the conditions for it.
pub(crate) struct Rule {
    pub(crate) name: Box<str>,
    pub(crate) conditions: Box<[Condition]>,
}

/// A condition of a rule. If the record lacks the value, the condition does not hold. Exception: a
/// record without a duration is refused if a duration of zero would meet the condition.
pub(crate) enum Condition {
    /// The usage type of the units that reach the classifier is one of these types.
    Type(Box<[Box<str>]>),
    Attribute(Attribute, Test),
    /// The measure is greater than `above` and at most `upto`.
    Measure {
        name: Box<str>,
        above: Option<i128>,
        upto: Option<i128>,
    },
}

/// A condition on the text of an attribute.
pub(crate) enum Test {
    Is(Box<[Box<str>]>),
    Like(Box<str>),
}

/// Reads a condition on a measure.
pub(crate) fn measured(
    builder: &mut Builder<'_>,
    line: u32,
    name: &str,
    above: Option<&str>,
    upto: Option<&str>,
) -> Result<Condition, Refused> {
    let mut limit = |property: &str, text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        let limit = builder.read(line, property, Quantity::parse(text))?;
        if name == "duration" && limit.unit != Unit::Microsecond {
            let message = format!(
                "{property}=\"{text}\" is not a time, but a duration is: write a time such as 3 s"
            );
            return Err(builder.refuse(line, Cause::WrongUnit, message));
        }
        let declared = builder.declared(name);
        if let Some(unit) = declared.filter(|unit| *unit != limit.unit) {
            let message = format!(
                "{property}=\"{text}\" is in {}, but measure {name} is declared in {}",
                plural(limit.unit),
                plural(unit)
            );
            return Err(builder.refuse(line, Cause::WrongUnit, message));
        }
        let timeless = declared.is_none() && (name == "quantity" || is_of_bytes(name));
        if timeless && limit.unit == Unit::Microsecond {
            let message = format!("{property}=\"{text}\" is a time, {}", no_time(name));
            builder.refuse_since(line, Cause::WrongUnit, message);
        }
        Ok(Some(limit.base))
    };
    let (above, upto) = (limit("above", above)?, limit("upto", upto)?);
    if let (Some(low), Some(high)) = (above, upto)
        && high <= low
    {
        let message = "no value is more than above and at most upto: write above below upto";
        return Err(builder.refuse(line, Cause::NothingPasses, message));
    }
    Ok(Condition::Measure { name: name.into(), above, upto })
}

impl Rule {
    /// Whether all conditions hold.
    pub(crate) fn holds(&self, run: &Evaluation<'_>, of: TypeOf) -> Result<bool, SuspenseReason> {
        for condition in &self.conditions {
            if !condition.holds(run, of)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether this rule provably holds for every record for which the other rule holds.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let implied = |mine: &Condition| other.conditions.iter().any(|theirs| mine.follows(theirs));
        self.conditions.iter().all(implied)
    }
}

impl Condition {
    fn holds(&self, run: &Evaluation<'_>, of: TypeOf) -> Result<bool, SuspenseReason> {
        Ok(match self {
            Self::Type(types) => is_one_of(run.usage_type(of)?, types),
            Self::Attribute(attribute, test) => {
                run.attribute(attribute)?.is_some_and(|value| test.holds(value))
            }
            Self::Measure { name, above, upto } => {
                let holds = |value: i128| {
                    above.is_none_or(|above| value > above) && upto.is_none_or(|upto| value <= upto)
                };
                match run.record.measure(name) {
                    Some(value) => holds(value.into()),
                    // A missing duration must not be treated as a short one. If the limits exclude
                    // zero, the condition does not hold, as for any other measure.
                    None if **name == *"duration" && holds(0) => {
                        let about = format_args!("record.duration");
                        return Err(run.refuse(SuspenseReason::MissingInput, about));
                    }
                    None => false,
                }
            }
        })
    }

    /// Whether this condition provably holds wherever the other condition holds.
    fn follows(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Type(mine), Self::Type(theirs)) => {
                theirs.iter().all(|name| is_one_of(name, mine))
            }
            (Self::Attribute(mine, test), Self::Attribute(theirs, other)) => {
                mine == theirs && test.follows(other)
            }
            (
                Self::Measure { name, above, upto },
                Self::Measure { name: theirs, above: low, upto: high },
            ) => {
                name == theirs
                    && above.is_none_or(|above| low.is_some_and(|low| low >= above))
                    && upto.is_none_or(|upto| high.is_some_and(|high| high <= upto))
            }
            _ => false,
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(words) => is_one_of(value, words),
            Self::Like(pattern) => is_like(value, pattern),
        }
    }

    fn follows(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Is(words)) => words.iter().all(|word| self.holds(word)),
            (Self::Like(mine), Self::Like(theirs)) => mine == theirs || **mine == *"*",
            (Self::Is(_), Self::Like(_)) => false,
        }
    }
}

fn is_one_of(value: &str, words: &[Box<str>]) -> bool {
    words.iter().any(|word| **word == *value)
}

/// Whether a text matches a pattern, in which `*` matches any text and `?` one character.
fn is_like(value: &str, pattern: &str) -> bool {
    let (mut value, mut pattern) = (value.chars(), pattern.chars());
    // The pattern after the last star, and the text from which it was tried.
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (mut rest, mut wanted) = (value.clone(), pattern.clone());
        match (rest.next(), wanted.next()) {
            (None, None) => return true,
            (_, Some('*')) => {
                star = Some((wanted.clone(), value.clone()));
                pattern = wanted;
            }
            (Some(one), Some(other)) if other == '?' || one == other => {
                (value, pattern) = (rest, wanted);
            }
            // Backtrack: the star consumes one more character.
            _ => {
                let Some((behind, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (value, pattern) = (from.clone(), behind.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_a_rule_a_star_matches_any_text_and_a_question_mark_one_character() {
        for (value, pattern) in [
            ("", "*"),
            ("video", "video"),
            ("video/mp4", "video/*"),
            ("video/", "video/*"),
            ("a.example.com", "*.example.com"),
            ("aXbXc", "a*b*c"),
            ("aab", "*ab"),
            ("café", "caf?"),
            ("Place Order", "Place Order"),
            ("abc", "**c"),
        ] {
            assert!(is_like(value, pattern), "{value} {pattern}");
        }
        for (value, pattern) in [
            ("", "?"),
            ("video", "vide"),
            ("vide", "video"),
            ("audio/mp4", "video/*"),
            ("example.com", "*.example.com"),
            ("Video", "video"),
            ("aXbX", "a*b*c"),
        ] {
            assert!(!is_like(value, pattern), "{value} {pattern}");
        }
    }

    /// The reference implementation: tries every length that a star can match.
    fn naively(value: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => value.is_empty(),
            ['*', rest @ ..] => (0..=value.len()).any(|taken| naively(&value[taken..], rest)),
            [one, rest @ ..] => {
                value.first().is_some_and(|c| *one == '?' || c == one) && naively(&value[1..], rest)
            }
        }
    }

    proptest! {
        #[test]
        fn patterns_match_like_a_full_search(value in "[abé]{0,9}", pattern in "[abé*?]{0,7}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(is_like(&value, &pattern), naively(&chars(&value), &chars(&pattern)));
        }
    }
}
