//! A cluster of real processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use turnpike_harness::process::{
    InheritedSettings, ServerCommand, ServerLog, ServerProcess, free_port, without_settings,
};
use turnpike_store::SharedDatabase;
use turnpike_types::NodeName;

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended the process.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    fn of(output: &std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The processes of one cluster; dropping it kills them.
pub struct Cluster {
    binary: PathBuf,
    database: String,
    front: String,
    failpoints: String,
    bounds: BTreeMap<String, ProcessBounds>,
    nodes: BTreeMap<String, String>,
    processes: BTreeMap<String, ServerProcess>,
    // This field is the last one, so that the directory is removed after the processes were killed.
    dir: tempfile::TempDir,
}

/// What the operating system lets a process have. A process that wants more gets an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessBounds {
    /// The size of its address space, in bytes; `None`: unlimited.
    pub address_space_bytes: Option<u64>,
    /// The number of its open files and connections; `None`: as many as this process.
    pub descriptors: Option<u64>,
}

/// The configuration of all processes. Checkpoints are frequent, so that takeovers load them.
const CONFIG: &str = "[node]\ncheckpoint-log-bytes = 200000\n";

impl Cluster {
    /// Prepares a cluster that uses the database at this address; no process is started.
    ///
    /// # Errors
    /// The program is not built, or there is no free port.
    pub fn new(database: String) -> Result<Self> {
        let front = format!("127.0.0.1:{}", free_port()?);
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("turnpike.toml"), CONFIG)?;
        let (binary, failpoints) = (binary()?, String::new());
        let (bounds, nodes, processes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { binary, database, front, failpoints, bounds, nodes, processes, dir })
    }

    /// Processes that are started from now on also have these lines of `[node]`, and what follows,
    /// in their configuration file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn configure(&self, settings: &str) -> Result<()> {
        Ok(std::fs::write(self.dir.path().join("turnpike.toml"), format!("{CONFIG}{settings}"))?)
    }

    /// Processes of this name that are started from now on run within these bounds.
    pub fn bind(&mut self, name: &str, bounds: ProcessBounds) {
        self.bounds.insert(name.to_owned(), bounds);
    }

    /// Runs a command of the program, and returns its standard output.
    ///
    /// # Errors
    /// The command failed; the message has its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.attempt(arguments)?;
        ensure!(ran.code == Some(0), "turnpike {}: {}\n{}", arguments.join(" "), ran.out, ran.err);
        Ok(ran.out)
    }

    /// Runs a command of the program, and returns its result whether it succeeds or fails.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn attempt(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(Ran::of(&self.command(arguments).output().context("turnpike")?))
    }

    /// As [`Self::attempt`], within these bounds.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn attempt_within(&self, bounds: ProcessBounds, arguments: &[&str]) -> Result<Ran> {
        let (program, words) = bounds.command(&self.binary, arguments);
        let mut command = Command::new(program);
        without_settings(&mut command).args(words).envs(self.variables()).stdin(Stdio::null());
        Ok(Ran::of(&command.output().context("turnpike")?))
    }

    /// Writes a file into the directory of the cluster, and returns its path.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Processes that are started from now on use this database.
    pub fn move_to(&mut self, database: String) {
        self.database = database;
    }

    /// Processes that are started from now on have these failpoints.
    pub fn arm(&mut self, failpoints: &str) {
        failpoints.clone_into(&mut self.failpoints);
    }

    /// Starts a front.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start_front(&mut self) -> Result<()> {
        let front = self.front.clone();
        self.start("front", &["front", "--listen", &front])
    }

    /// Waits until the front answers and every partition is served.
    ///
    /// # Errors
    /// This takes more than a minute; the message has the logs of the processes.
    pub async fn wait_until_served(&self) -> Result<()> {
        let mut last = String::new();
        for _ in 0..300 {
            let status = self.attempt(&["status"])?;
            if status.code == Some(0) {
                return Ok(());
            }
            last = format!("{}{}", status.out, status.err);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let logs: Vec<String> = self.processes.keys().map(|name| self.log(name)).collect();
        bail!("the cluster does not come up: {last}\n{}", logs.join("\n"))
    }

    /// Starts the node called `name`.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start_node(&mut self, name: &str) -> Result<()> {
        // Each start uses a new port, because the port of the last process may still be in use.
        let listen = format!("127.0.0.1:{}", free_port()?);
        self.nodes.insert(name.to_owned(), listen.clone());
        self.start(name, &["node", "--name", name, "--listen", &listen])
    }

    /// Kills a process as a power cut would (SIGKILL), unless it has ended, and waits for its end.
    ///
    /// # Errors
    /// No such process was started.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let mut process = self.processes.remove(name).context("no such process")?;
        if !process.has_ended()? {
            process.kill()?;
        }
        process.ended().await?;
        Ok(())
    }

    /// Stops a process with SIGSTOP: it exists and its sockets are open, but it executes nothing.
    ///
    /// # Errors
    /// No such process runs.
    pub fn freeze(&self, name: &str) -> Result<()> {
        self.process(name)?.freeze()
    }

    /// The process id.
    ///
    /// # Errors
    /// No such process runs.
    pub fn pid(&self, name: &str) -> Result<u32> {
        Ok(self.process(name)?.pid())
    }

    /// Continues the process (SIGCONT).
    ///
    /// # Errors
    /// No such process runs.
    pub fn wake(&self, name: &str) -> Result<()> {
        self.process(name)?.resume()
    }

    /// Whether the process ended without being killed.
    ///
    /// # Errors
    /// No such process was started.
    pub fn has_ended(&mut self, name: &str) -> Result<bool> {
        let process = self.processes.get_mut(name).context("no such process")?;
        Ok(process.has_ended()?)
    }

    fn process(&self, name: &str) -> Result<&ServerProcess> {
        self.processes.get(name).context("no such process")
    }

    /// Kills the owner of a randomly chosen partition, and starts it again after a pause.
    ///
    /// # Errors
    /// The partition has no owner, or the process can't be started.
    pub async fn kill_an_owner(
        &mut self,
        db: &dyn SharedDatabase,
        chance: &mut StdRng,
    ) -> Result<()> {
        let seen = db.observe().await?;
        let row = &seen.partitions[chance.random_range(0..seen.partitions.len())];
        let (owner, _) = row.owner.clone().context("the partition has no owner")?;
        self.kill(&owner.0).await?;
        println!("killed {owner}, which owned partition {}", row.spec.id);
        tokio::time::sleep(Duration::from_millis(chance.random_range(500..2_500))).await;
        self.start_node(&owner.0)
    }

    /// Pins the partitions to the nodes `owners`, in the order of the partitions, and waits until
    /// these own them. Without an operator, a partition returns only after minutes to a member that
    /// failed (P14).
    ///
    /// # Errors
    /// This takes more than a minute; the message has the logs of the processes.
    pub async fn wait_until_owned_by(
        &self,
        db: &dyn SharedDatabase,
        owners: &[&str],
    ) -> Result<()> {
        for (row, owner) in db.observe().await?.partitions.iter().zip(owners) {
            let owner = NodeName((*owner).to_owned());
            db.pin(row.spec.id, Some((&owner, Duration::from_secs(600)))).await?;
        }
        for _ in 0..600 {
            let seen = db.observe().await?;
            let owned = seen.partitions.iter().zip(owners).all(|(row, owner)| {
                row.released_to.is_none()
                    && row.owner.as_ref().is_some_and(|(name, _)| name.0 == *owner)
            });
            if owned {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let logs: Vec<String> = self.processes.keys().map(|name| self.log(name)).collect();
        bail!("the restarted nodes did not get their partitions back\n{}", logs.join("\n"))
    }

    /// The address of the front, as a URL.
    pub fn front(&self) -> String {
        format!("http://{}", self.front)
    }

    /// The address of a node that was started.
    ///
    /// # Errors
    /// No such node was started.
    pub fn node(&self, name: &str) -> Result<&str> {
        Ok(self.nodes.get(name).context("no such node")?)
    }

    /// The standard error of a process.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Starts a server, without waiting until it listens: a failpoint may end it before.
    fn start(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let bounds = self.bounds.get(name).copied().unwrap_or_default();
        let (program, arguments) = bounds.command(&self.binary, arguments);
        let command = ServerCommand {
            name: name.to_owned(),
            program,
            arguments,
            inherits: InheritedSettings::None,
            variables: self.variables().into(),
            log: ServerLog::File(self.dir.path().join(name)),
        };
        self.processes.insert(name.to_owned(), command.spawn()?);
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        without_settings(&mut command).args(arguments).envs(self.variables()).stdin(Stdio::null());
        command
    }

    /// The environment of all processes of the cluster.
    fn variables(&self) -> [(String, OsString); 4] {
        [
            ("TURNPIKE_DATABASE", OsString::from(&self.database)),
            ("TURNPIKE_FRONT", self.front().into()),
            ("TURNPIKE_CONFIG", self.dir.path().join("turnpike.toml").into()),
            ("FAILPOINTS", OsString::from(&self.failpoints)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}

impl ProcessBounds {
    /// The command that runs `program` with `arguments` within these bounds.
    fn command(self, program: &Path, arguments: &[&str]) -> (PathBuf, Vec<OsString>) {
        let arguments = arguments.iter().map(OsString::from);
        let mut script = String::new();
        if let Some(bytes) = self.address_space_bytes {
            // Otherwise the allocators reserve a gibibyte of address space at the start, and 64 MiB
            // for each thread, so that the bound would say little about the memory in use.
            script += "export MIMALLOC_ARENA_RESERVE=32768 MALLOC_ARENA_MAX=1; ";
            script += &format!("ulimit -v {} || exit 1; ", bytes / 1_024);
        }
        if let Some(descriptors) = self.descriptors {
            script += &format!("ulimit -n {descriptors} || exit 1; ");
        }
        if script.is_empty() {
            return (program.to_owned(), arguments.collect());
        }
        script += r#"exec "$0" "$@""#;
        let shell = [OsString::from("-c"), script.into(), program.into()];
        (PathBuf::from("/bin/sh"), shell.into_iter().chain(arguments).collect())
    }
}

/// The path of the program, in the same target directory as the running test.
fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.parent().and_then(Path::parent).context("no target folder")?;
    let binary = target.join("turnpike");
    if !binary.exists() {
        bail!("{} does not exist: build it first (cargo build --workspace)", binary.display());
    }
    Ok(binary)
}
