//! The limits of connections in the configuration file.

use turnpike_listen::ListenConfig;

use crate::exit::usage;
use crate::values;

/// The keys of one section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionKeys<'a> {
    /// `node` or `front`.
    pub(crate) section: &'static str,
    pub(crate) connections_max: Option<usize>,
    pub(crate) connections_per_address_max: Option<usize>,
    pub(crate) streams_per_connection_max: Option<u32>,
    pub(crate) connection_age_max: Option<&'a str>,
}

impl ConnectionKeys<'_> {
    /// The limits of a listener: those of the file, else those of `default`.
    pub(crate) fn resolve(self, default: ListenConfig) -> anyhow::Result<ListenConfig> {
        let section = self.section;
        let refused = |key: &str, why: String| Err(usage(format!("{section}.{key}: {why}")));
        let mut config = default;
        if let Some(max) = self.connections_max {
            let possible = ListenConfig::connections_possible();
            if max == 0 || max > possible {
                let why = format!(
                    "{max}, write 1 to {possible}, or raise the limit of open files (LimitNOFILE)"
                );
                return refused("connections-max", why);
            }
            config.connections_max = max;
            config.connections_per_address_max = (max / 2).max(1);
        }
        if let Some(max) = self.connections_per_address_max {
            if max == 0 || max > config.connections_max {
                let why = format!("{max}, write 1 to {}", config.connections_max);
                return refused("connections-per-address-max", why);
            }
            config.connections_per_address_max = max;
        }
        if let Some(max) = self.streams_per_connection_max {
            if max == 0 {
                return refused("streams-per-connection-max", "0, write at least 1".to_owned());
            }
            config.streams_per_connection_max = max;
        }
        if let Some(text) = self.connection_age_max {
            match values::patience(text) {
                Ok(age) => config.deadlines.age = age,
                Err(error) => return refused("connection-age-max", error),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NONE: ConnectionKeys<'static> = ConnectionKeys {
        section: "front",
        connections_max: None,
        connections_per_address_max: None,
        streams_per_connection_max: None,
        connection_age_max: None,
    };

    #[test]
    fn a_key_replaces_its_limit_and_a_limit_that_can_not_work_is_refused() {
        let of = |keys: ConnectionKeys<'_>| keys.resolve(ListenConfig::front());
        let default = ListenConfig::front();
        let kept = of(NONE).unwrap();
        assert_eq!(kept.connections_max, default.connections_max);
        assert_eq!(kept.deadlines.age, default.deadlines.age);
        let set = of(ConnectionKeys {
            connections_max: Some(20),
            streams_per_connection_max: Some(7),
            connection_age_max: Some("2h"),
            ..NONE
        });
        let set = set.unwrap();
        assert_eq!((set.connections_max, set.connections_per_address_max), (20, 10));
        assert_eq!(set.streams_per_connection_max, 7);
        assert_eq!(set.deadlines.age.as_secs(), 7_200);
        let refused = [
            (ConnectionKeys { connections_max: Some(0), ..NONE }, "front.connections-max: 0"),
            (ConnectionKeys { connections_max: Some(usize::MAX), ..NONE }, "open files"),
            (
                ConnectionKeys {
                    connections_max: Some(4),
                    connections_per_address_max: Some(5),
                    ..NONE
                },
                "front.connections-per-address-max: 5, write 1 to 4",
            ),
            (ConnectionKeys { streams_per_connection_max: Some(0), ..NONE }, "at least 1"),
            (ConnectionKeys { connection_age_max: Some("soon"), ..NONE }, "connection-age-max"),
        ];
        for (keys, expected) in refused {
            let told = of(keys).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
