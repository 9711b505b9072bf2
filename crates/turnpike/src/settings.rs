//! The value of a setting, and where it was given.
//!
//! A setting is resolved in one order: the option, its environment variable, the configuration
//! file, the default. The parser of the command line handles the first two.

use std::fmt;

use crate::exit::usage;

/// Where the value of a setting was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// An option such as `--listen`, or its environment variable: the parser does not report which.
    Option(&'static str),
    /// A key of the configuration file, such as `node.listen`.
    Key(&'static str),
    /// Nowhere: the value is the default.
    Default,
}

/// The value of a setting. Messages about the value name its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) source: SettingSource,
}

impl<T> Setting<T> {
    /// The value of the option or else that of the key; each comes with its name. `None` if neither
    /// is set.
    pub(crate) fn given(
        (option, of_option): (&'static str, Option<T>),
        (key, of_key): (&'static str, Option<T>),
    ) -> Option<Self> {
        let option = of_option.map(|value| Self { value, source: SettingSource::Option(option) });
        option.or_else(|| of_key.map(|value| Self { value, source: SettingSource::Key(key) }))
    }

    /// As [`Setting::given`], with a default.
    pub(crate) fn resolve(
        option: (&'static str, Option<T>),
        key: (&'static str, Option<T>),
        default: T,
    ) -> Self {
        Self::given(option, key).unwrap_or_else(|| Self::fixed(default))
    }

    /// A value that no option and no key can change.
    pub(crate) const fn fixed(value: T) -> Self {
        Self { value, source: SettingSource::Default }
    }

    /// The value of an option that no key of the file can set.
    pub(crate) fn of_option(option: &'static str, given: Option<T>, default: T) -> Self {
        Self::resolve((option, given), ("", None), default)
    }

    /// Whether the user gave the value.
    pub(crate) fn is_given(&self) -> bool {
        self.source != SettingSource::Default
    }

    /// The error that the value can't be used; it names the source, and `why` contains the remedy.
    pub(crate) fn refused(&self, why: impl fmt::Display) -> anyhow::Error
    where
        T: fmt::Debug,
    {
        usage(match self.source {
            SettingSource::Key(key) => {
                format!("{key} in the configuration file, {:?}: {why}", self.value)
            }
            SettingSource::Option(option) => format!("{option} {:?}: {why}", self.value),
            SettingSource::Default => format!("the default {:?}: {why}", self.value),
        })
    }

    /// The value as it was given: `--nodes 3`, or `up.nodes = 3`.
    pub(crate) fn as_given(&self) -> String
    where
        T: fmt::Display,
    {
        match self.source {
            SettingSource::Key(key) => format!("{key} = {}", self.value),
            SettingSource::Option(option) => format!("{option} {}", self.value),
            SettingSource::Default => format!("the default {}", self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_beats_the_key_and_the_key_beats_the_default() {
        let of = |option, key| Setting::resolve(("--nodes", option), ("up.nodes", key), 2);
        assert_eq!(of(Some(3), Some(4)).as_given(), "--nodes 3");
        assert_eq!(of(None, Some(4)).as_given(), "up.nodes = 4");
        assert_eq!(of(None, None).as_given(), "the default 2");
        assert!(of(None, Some(2)).is_given() && !of(None, None).is_given());
    }

    #[test]
    fn a_refusal_names_the_source_of_the_value() {
        let of = |option, key| {
            let given = Setting::given(("--metrics", option), ("node.metrics", key));
            given.map(|setting: Setting<&str>| setting.refused("write HOST:PORT").to_string())
        };
        assert_eq!(of(Some("x"), None).unwrap(), "--metrics \"x\": write HOST:PORT");
        assert_eq!(
            of(None, Some("x")).unwrap(),
            "node.metrics in the configuration file, \"x\": write HOST:PORT"
        );
        assert_eq!(of(None, None), None);
    }
}
