//! The settings of the program `turnpike` in the environment: variables that begin with `TURNPIKE_`.

use std::process::Command;

/// The settings in the environment of the starter that a process inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InheritedSettings {
    /// None: the settings of the starter must not change the cluster.
    None,
    /// All except these variables.
    AllExcept(&'static [&'static str]),
}

impl InheritedSettings {
    /// Whether a process does not inherit this variable.
    fn excludes(self, variable: &str) -> bool {
        match self {
            Self::None => variable.starts_with("TURNPIKE_"),
            Self::AllExcept(excluded) => excluded.contains(&variable),
        }
    }

    /// Removes the variables that the process does not inherit from the environment of a command.
    pub(super) fn apply(self, command: &mut Command) {
        for (variable, _) in std::env::vars_os() {
            if self.excludes(&variable.to_string_lossy()) {
                command.env_remove(variable);
            }
        }
    }
}

/// Removes all settings from the environment of a command.
pub fn without_settings(command: &mut Command) -> &mut Command {
    InheritedSettings::None.apply(command);
    command
}

#[cfg(test)]
mod tests {
    use super::InheritedSettings;

    #[test]
    fn only_settings_of_the_program_are_removed_from_the_environment() {
        for (variable, by_none, by_list) in [
            ("TURNPIKE_LISTEN", true, true),
            ("TURNPIKE_DATABASE", true, false),
            ("PATH", false, false),
            ("MY_TURNPIKE_LISTEN", false, false),
        ] {
            assert_eq!(InheritedSettings::None.excludes(variable), by_none, "{variable}");
            let listed = InheritedSettings::AllExcept(&["TURNPIKE_LISTEN"]);
            assert_eq!(listed.excludes(variable), by_list, "{variable}");
        }
    }
}
