//! The configuration file: TOML, every key optional, unknown keys refused.
//!
//! A flag beats its environment variable, which beats the file, which beats the default. The first
//! two are the command line parser's; what a command finds unset there it asks for here.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::exit::usage;

/// The file as it stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The shared database's address.
    pub(crate) database: Option<String>,
    #[serde(default)]
    pub(crate) client: ClientConfig,
    #[serde(default)]
    pub(crate) log: LogConfig,
    #[serde(default)]
    pub(crate) node: NodeSection,
    #[serde(default)]
    pub(crate) front: FrontSection,
    #[serde(default)]
    pub(crate) up: UpSection,
}

/// How commands reach a front.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ClientConfig {
    pub(crate) front: Option<String>,
    pub(crate) timeout: Option<String>,
}

/// What goes to standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LogConfig {
    pub(crate) format: Option<String>,
    pub(crate) level: Option<String>,
}

/// A rating node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NodeSection {
    pub(crate) name: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) queue_bytes_max: Option<usize>,
    pub(crate) keys_max: Option<usize>,
    pub(crate) warm_standbys: Option<usize>,
    pub(crate) segment_bytes_max: Option<usize>,
    pub(crate) checkpoint_log_bytes: Option<u64>,
}

/// A front.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FrontSection {
    pub(crate) listen: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) admitted_bytes_max: Option<usize>,
}

/// The embedded cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UpSection {
    pub(crate) data: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) nodes: Option<u32>,
    pub(crate) partitions: Option<u32>,
}

impl Config {
    /// Reads the file at `path`; no path, no settings.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("the configuration file {} can't be read (--config)", path.display())
        })?;
        toml::from_str(&text).map_err(|error| {
            let said = error.to_string();
            usage(format!("{}: {}", path.display(), said.trim_end()))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Config;

    const EXAMPLE: &str = include_str!("../../../cluster/turnpike.toml");

    #[test]
    fn the_example_names_keys_that_exist() {
        let example: Config = toml::from_str(EXAMPLE).unwrap();
        assert!(example.database.is_some() && example.node.name.is_some());
        // Lines that are commented out are offers; they must be valid too.
        let offered: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |all, line| all + line + "\n");
        toml::from_str::<Config>(&offered).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        for text in ["colour = 1", "[node]\ncolour = 1", "[colour]\nx = 1"] {
            let said = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(said.contains("unknown field `colour`"), "{said}");
        }
    }
}
