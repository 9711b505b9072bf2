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
