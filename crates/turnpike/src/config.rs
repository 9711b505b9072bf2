//! The configuration file: TOML, every key optional, unknown keys refused.
//!
//! Order of precedence: the option, its environment variable, the file, the default. The command
//! line parser handles the first two; a command reads an unset option from this configuration.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::exit::usage;
use crate::values;

/// The contents of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The shared database's address.
    pub(crate) database: Option<String>,
    #[serde(default)]
    pub(crate) client: ClientConfig,
    #[serde(default)]
    pub(crate) tls: TlsSection,
    #[serde(default)]
    pub(crate) log: LogConfig,
    #[serde(default)]
    pub(crate) node: NodeSection,
    #[serde(default)]
    pub(crate) front: FrontSection,
    #[serde(default)]
    pub(crate) up: UpSection,
}

/// One address or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "an address, or a list of addresses")]
pub(crate) enum AddressList {
    /// One, or several with commas between them.
    One(String),
    /// A list.
    Several(Vec<String>),
}

impl AddressList {
    /// All addresses, in order.
    pub(crate) fn list(&self) -> Vec<String> {
        let of = |text: &String| text.split(',').map(|one| one.trim().to_owned()).collect();
        match self {
            Self::One(text) => of(text),
            Self::Several(list) => {
                list.iter().flat_map(|text: &String| -> Vec<String> { of(text) }).collect()
            }
        }
    }
}

/// The connection of commands to a front.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ClientConfig {
    pub(crate) front: Option<AddressList>,
    pub(crate) timeout: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

/// The certificates of this process, as a server and as a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TlsSection {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cluster: Option<String>,
    pub(crate) insecure_plaintext: Option<bool>,
}

/// The log on standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LogConfig {
    pub(crate) format: Option<String>,
    pub(crate) level: Option<String>,
}

/// Settings of a rating node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NodeSection {
    pub(crate) name: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) memory: Option<usize>,
    pub(crate) queue_bytes_max: Option<usize>,
    pub(crate) segment_cache_bytes: Option<u64>,
    pub(crate) keys_max: Option<usize>,
    pub(crate) warm_standbys: Option<usize>,
    pub(crate) segment_bytes_max: Option<usize>,
    pub(crate) checkpoint_log_bytes: Option<u64>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) connections_per_address_max: Option<usize>,
    pub(crate) streams_per_connection_max: Option<u32>,
    pub(crate) connection_age_max: Option<String>,
}

/// Settings of a front.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FrontSection {
    pub(crate) listen: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) memory: Option<usize>,
    pub(crate) admitted_bytes_max: Option<usize>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) connections_per_address_max: Option<usize>,
    pub(crate) streams_per_connection_max: Option<u32>,
    pub(crate) connection_age_max: Option<String>,
}

/// Settings of the embedded cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct UpSection {
    pub(crate) data: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) nodes: Option<u32>,
    pub(crate) partitions: Option<u32>,
}

/// Every key of the file, by section; the empty section holds the top-level keys.
pub(crate) const KEYS: [(&str, &[&str]); 7] = [
    ("", &["database", "client", "tls", "log", "node", "front", "up"]),
    ("client", &["front", "timeout", "token-file"]),
    ("tls", &["certificate", "key", "ca", "cluster", "insecure-plaintext"]),
    ("log", &["format", "level"]),
    (
        "node",
        &[
            "name",
            "listen",
            "advertise",
            "metrics",
            "memory",
            "queue-bytes-max",
            "segment-cache-bytes",
            "keys-max",
            "warm-standbys",
            "segment-bytes-max",
            "checkpoint-log-bytes",
            "connections-max",
            "connections-per-address-max",
            "streams-per-connection-max",
            "connection-age-max",
        ],
    ),
    (
        "front",
        &[
            "listen",
            "metrics",
            "memory",
            "admitted-bytes-max",
            "connections-max",
            "connections-per-address-max",
            "streams-per-connection-max",
            "connection-age-max",
        ],
    ),
    ("up", &["data", "listen", "nodes", "partitions"]),
];

impl Config {
    /// Reads the file at `path`; without a path, all settings are unset.
    ///
    /// # Errors
    /// A file that can't be read or is invalid, with the line; exit code 2.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let place = path.display();
        let text = read(path).map_err(|error| {
            usage(format!("the configuration file {place} can't be read: {error} (--config)"))
        })?;
        Self::parse(&text).map_err(|wrong| usage(format!("{place}: {wrong}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let said = |error: toml::de::Error| error.to_string().trim_end().to_owned();
        let table = DeTable::parse(text).map_err(said)?;
        check_keys(text, "", table.get_ref())?;
        toml::from_str(text).map_err(said)
    }

    /// The log format in the file at `path`, even if the file has other errors: the message about
    /// these errors must have this format.
    pub(crate) fn log_format(path: Option<&Path>) -> Option<String> {
        let text = read(path?).ok()?;
        let table: toml::Table = toml::from_str(&text).ok()?;
        Some(table.get("log")?.get("format")?.as_str()?.to_owned())
    }
}

/// The maximum size of a configuration file, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reads a configuration file, and no more of it than its maximum size.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Refuses an unknown key; the message has its line and the nearest known key.
fn check_keys(text: &str, section: &str, table: &DeTable<'_>) -> Result<(), String> {
    let known = KEYS.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
    for (key, value) in table {
        let name: &str = key.get_ref();
        if !known.contains(&name) {
            return Err(unknown_key(text, section, name, key.span().start));
        }
        if let (DeValue::Table(inner), "") = (value.get_ref(), section) {
            check_keys(text, name, inner)?;
        }
    }
    Ok(())
}

fn unknown_key(text: &str, section: &str, name: &str, at: usize) -> String {
    let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let of = |(section, key): (&str, &str)| match section {
        "" => key.to_owned(),
        section => format!("[{section}] {key}"),
    };
    // A known key may be in the wrong section.
    let everywhere = || KEYS.iter().flat_map(|(of, keys)| keys.iter().map(|key| (*of, *key)));
    let here = KEYS.iter().find(|(of, _)| *of == section).map_or(&[][..], |(_, keys)| keys);
    let nearest = values::nearest(name, here.iter().copied()).map(|key| (section, key));
    let elsewhere = || everywhere().find(|(of, key)| *key == name && *of != section);
    let misspelt = || {
        let near = values::nearest(name, everywhere().map(|(_, key)| key))?;
        everywhere().find(|(_, key)| *key == near)
    };
    let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
    let hint = match elsewhere().or(nearest).or_else(misspelt) {
        Some(meant) => format!("do you mean {}?", of(meant)),
        None => format!("known here: {}", here.join(", ")),
    };
    format!("line {line}: {name:?}{place} is no setting; {hint}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Config, KEYS};

    const EXAMPLE: &str = include_str!("../../../cluster/turnpike.toml");

    #[test]
    fn the_example_names_keys_that_exist() {
        let example = Config::parse(EXAMPLE).unwrap();
        assert!(example.database.is_some() && example.node.name.is_some());
        // Settings that are commented out must be valid too.
        let offered: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |all, line| all + line + "\n");
        Config::parse(&offered).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        for (text, said) in [
            ("colour = 1", "line 1: \"colour\" is no setting; known here: database, client"),
            (
                "# x\n\ndatabas = \"memory:\"",
                "line 3: \"databas\" is no setting; do you mean database?",
            ),
            (
                "[node]\nkeys_max = 1",
                "line 2: \"keys_max\" in [node] is no setting; do you mean [node] keys-max?",
            ),
            ("[nod]\nname = \"a\"", "line 1: \"nod\" is no setting; do you mean node?"),
            ("name = \"a\"", "line 1: \"name\" is no setting; do you mean [node] name?"),
            (
                "[front]\nkeys-max = 1",
                "line 2: \"keys-max\" in [front] is no setting; do you mean [node] keys-max?",
            ),
            (
                "node.nmae = \"a\"",
                "line 1: \"nmae\" in [node] is no setting; do you mean [node] name?",
            ),
        ] {
            let wrong = Config::parse(text).unwrap_err();
            assert!(wrong.starts_with(said), "{text}: {wrong}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_line() {
        let wrong = Config::parse("[up]\nnodes = \"two\"").unwrap_err();
        assert!(wrong.contains("line 2") && wrong.contains("nodes"), "{wrong}");
    }

    #[test]
    fn every_listed_key_is_read_and_every_key_of_the_sample_is_listed() {
        for (section, keys) in KEYS.iter().filter(|(section, _)| !section.is_empty()) {
            for key in *keys {
                // The value has a wrong type, so a known key gives a type error.
                let text = format!("[{section}]\n{key} = {{}}");
                let wrong = Config::parse(&text).unwrap_err();
                assert!(!wrong.contains("unknown") && !wrong.contains("no setting"), "{wrong}");
                assert!(EXAMPLE.contains(&format!("{key} = ")), "the sample lacks {key}");
            }
        }
    }

    #[test]
    fn several_fronts_are_a_list_or_a_text_with_commas() {
        let of = |text: &str| Config::parse(text).unwrap().client.front.unwrap().list();
        let both = ["http://a:1", "http://b:2"];
        assert_eq!(of("[client]\nfront = \"http://a:1, http://b:2\""), both);
        assert_eq!(of("[client]\nfront = [\"http://a:1\", \"http://b:2\"]"), both);
        assert_eq!(of("[client]\nfront = \"http://a:1\""), both[..1]);
    }
}
