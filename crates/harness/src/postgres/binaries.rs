//! Finds the programs of PostgreSQL, and runs them as a user that is not root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The directory that holds `initdb` and `postgres`.
pub(crate) fn find() -> Result<PathBuf> {
    let is_right = |dir: &Path| dir.join("initdb").is_file() && dir.join("postgres").is_file();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if is_right(&dir) {
            return Ok(dir);
        }
    }
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|dir| is_right(dir))
        .collect();
    versions.sort_by_key(|dir| version_of(dir));
    match versions.pop() {
        Some(newest) => Ok(newest),
        None => bail!("PostgreSQL is not installed: apt-get install postgresql"),
    }
}

/// The major version that the folder's name states. A folder without one comes before all others.
fn version_of(bin: &Path) -> Option<u32> {
    let version = bin.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
    version.and_then(|name| name.parse().ok())
}

/// Whether this process runs as root, under which PostgreSQL refuses to run.
pub(crate) fn is_root() -> bool {
    id(&["-u"]).is_some_and(|id| id == "0")
}

fn id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The user that the server runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The user of this process.
    Ourselves,
    /// The user `postgres`, because this process runs as root.
    Postgres {
        /// The user's id, for `chown`.
        uid: u32,
        /// The id of the user's group, for `chown`.
        gid: u32,
    },
}

impl User {
    pub(crate) fn choose() -> Result<Self> {
        if !is_root() {
            return Ok(Self::Ourselves);
        }
        let number = |flag: &str| {
            id(&[flag, "postgres"]).and_then(|id| id.parse().ok()).context(
                "root can't run PostgreSQL, and there is no postgres user to drop to: \
                 apt-get install postgresql creates it",
            )
        };
        Ok(Self::Postgres { uid: number("-u")?, gid: number("-g")? })
    }

    /// A command that runs `program` as this user. If `tied`, the kernel kills the program when the
    /// thread that spawned it ends, where `setpriv` is available.
    pub(crate) fn command(&self, program: &Path, tied: bool) -> Command {
        let mut setpriv = Command::new("setpriv");
        if tied {
            setpriv.arg("--pdeathsig=KILL");
        }
        if *self != Self::Ourselves {
            setpriv.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        } else if !tied || !has_setpriv() {
            return Command::new(program);
        }
        setpriv.arg("--").arg(program);
        setpriv
    }
}

fn has_setpriv() -> bool {
    Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success())
}
