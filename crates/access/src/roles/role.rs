//! The roles that can be granted.

use strum::VariantArray as _;

/// A role. Nodes and fronts have no role: their certificates name them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum AccessRole {
    /// Sends usage records.
    Collector,
    /// Pulls rated output and moves the cursors of one consumer.
    Consumer,
    /// Publishes plans and tables.
    Pricing,
    /// Moves partitions and drains nodes.
    Operator,
    /// Changes accounts, and recycles records in suspense.
    Support,
    /// Sees one account.
    Subscriber,
    /// Reads everything except the feed.
    Auditor,
    /// Grants roles and issues tokens.
    Admin,
}

impl AccessRole {
    /// All roles.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The word for people, files and the wire.
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// The role with this word.
    ///
    /// # Errors
    /// The words of all roles.
    pub fn named(word: &str) -> Result<Self, String> {
        word.parse().map_err(|_| {
            let words: Vec<&str> = Self::ALL.iter().map(|role| role.word()).collect();
            format!("{word:?} is no role; use one of {}", words.join(", "))
        })
    }

    /// Whether a grant of this role can be limited to a range of accounts. Methods of other roles
    /// have no account, so that a limit would have no effect.
    pub const fn takes_accounts(self) -> bool {
        matches!(self, Self::Collector | Self::Support | Self::Subscriber)
    }
}
