//! What a command resolves its settings from, in addition to its own options.

use std::path::PathBuf;

use crate::config::Config;
use crate::telemetry::LogSettings;

/// The configuration file and the global options.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) quiet: bool,
    /// The log settings in force.
    pub(crate) log: LogSettings,
}

impl Context {
    /// The path of the configuration file, for messages.
    pub(crate) fn config_shown(&self) -> String {
        self.config_path
            .as_ref()
            .map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }
}

/// Options and contexts as a process would get them, for tests of settings.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod given {
    use clap::{Args, Command};

    use super::Context;
    use crate::telemetry::LogSettings;
    use crate::ui::LogOutput;

    /// The options of a command line. Variables of the program are not read, so that the test does
    /// not depend on its environment: each option in `variables` reads the named variable instead.
    /// Cargo sets `CARGO_PKG_NAME` for a test, which is `turnpike`.
    pub(crate) fn options<A: Args>(words: &[&str], variables: &[(&str, &'static str)]) -> A {
        let command = A::augment_args(Command::new("test").no_binary_name(true));
        let command = command.mut_args(|option| {
            let id = option.get_id().clone();
            match variables.iter().find(|(name, _)| id == *name) {
                Some((_, variable)) => option.env(*variable),
                None if option.get_env().is_some() => option.env("NOT_SET_IN_ANY_TEST"),
                None => option,
            }
        });
        let matches = command.try_get_matches_from(words).unwrap();
        A::from_arg_matches(&matches).unwrap()
    }

    /// A context with this configuration file.
    pub(crate) fn context(file: &str) -> Context {
        Context {
            config: toml::from_str(file).unwrap(),
            config_path: None,
            quiet: false,
            log: LogSettings { format: LogOutput::Text, filter: "warn".to_owned() },
        }
    }
}
