//! Starts, stops and restarts a PostgreSQL server.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

use super::binaries::{self, User};
use crate::process::free_port;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// Memory for cached pages, in the syntax of PostgreSQL's setting `shared_buffers`.
    pub shared_buffers: String,
    /// A port of 127.0.0.1 to listen on besides the unix socket. `Some(0)` selects a free port,
    /// which stays the same across restarts.
    pub port: Option<u16>,
    /// Whether a commit waits for the disk. Turned off only to test that a program refuses such a
    /// server.
    pub fsync: bool,
    /// Further settings of the server, each `name=value`.
    pub extra: Vec<String>,
    /// Ends a start that another thread no longer needs.
    pub cancel: StartCancel,
}

/// A request to end a start, for the thread that started it. Copies are one request.
#[derive(Clone, Debug, Default)]
pub struct StartCancel(Arc<AtomicBool>);

impl StartCancel {
    /// Ends the start, also one that has not begun: the processes that it started are killed, its
    /// files are removed, and it fails.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            shared_buffers: "64MB".to_owned(),
            port: None,
            fsync: true,
            extra: Vec::new(),
            cancel: StartCancel::default(),
        }
    }
}

/// A running server. Dropping it stops the server and removes its files.
pub struct PostgresServer {
    bin: PathBuf,
    user: User,
    settings: PostgresSettings,
    port: Option<u16>,
    running: Option<Child>,
    // This field is the last one, so that the directory is removed after the server has stopped.
    dir: TempDir,
}

/// Time limit for the server to start or to stop, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The maximum length of the directory of the unix socket. The kernel limits a socket's path to 107
/// bytes, and the name of the socket is a part of the path.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.65535".len();

impl PostgresServer {
    /// Starts a server on a unix socket.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; the message holds the server's log.
    pub fn start() -> Result<Self> {
        Self::start_with(PostgresSettings::default())
    }

    /// Starts a server with these settings.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn start_with(settings: PostgresSettings) -> Result<Self> {
        let bin = binaries::find()?;
        let user = User::choose()?;
        let dir = directory(&user)?;
        let port = match settings.port {
            Some(0) => Some(free_port()?),
            port => port,
        };
        let mut server = Self { bin, user, settings, port, running: None, dir };
        server.initdb()?;
        server.restart()?;
        Ok(server)
    }

    /// Starts the server again. If it runs, it is ended first as by a crash: open connections
    /// break, and committed data stays.
    ///
    /// # Errors
    /// The server does not start; the message holds its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.running = Some(self.spawn()?);
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            let ended = match self.running.as_mut() {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if self.settings.cancel.is_cancelled() {
                self.stop();
                bail!("the start of PostgreSQL was cancelled");
            }
            if ended || Instant::now() > until {
                let log = fs::read_to_string(self.dir.path().join("log"))
                    .unwrap_or_else(|error| format!("its log can't be read: {error}"));
                self.stop();
                bail!("PostgreSQL does not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends the server at once, without a clean shut-down.
    pub fn stop(&mut self) {
        let Some(mut child) = self.running.take() else {
            return;
        };
        // SIGQUIT is PostgreSQL's "immediate shutdown": all backends end, and no buffer is flushed.
        let pid = child.id().to_string();
        // If the signal can't be sent, the server is killed below.
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let until = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        // Errors mean that the process has ended by now.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The process id of the server, for tests that freeze it.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// The port on 127.0.0.1, if one was requested.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The address of `database` on the unix socket.
    pub fn url(&self, database: &str) -> String {
        let (dir, port) = (self.dir.path().display(), self.socket_port());
        format!("postgres:///{database}?host={dir}&port={port}&user=postgres")
    }

    /// The address of `database` on 127.0.0.1; `None` if no port was requested.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        self.port.map(|port| format!("postgres://postgres@127.0.0.1:{port}/{database}"))
    }

    /// Runs a statement in the database `postgres`. Returns the output of psql, without headings.
    ///
    /// # Errors
    /// The server does not answer, or refuses the statement.
    pub fn psql(&self, statement: &str) -> Result<String> {
        self.psql_in("postgres", statement)
    }

    /// As [`PostgresServer::psql`], in `database`.
    ///
    /// # Errors
    /// As [`PostgresServer::psql`].
    pub fn psql_in(&self, database: &str, statement: &str) -> Result<String> {
        let output = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(self.dir.path())
            .args(["-p", &self.socket_port().to_string(), "-d", database, "-c", statement])
            .output()
            .context("psql")?;
        if !output.status.success() {
            bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn initdb(&self) -> Result<()> {
        let log_path = self.dir.path().join("initdb.log");
        let log = fs::File::create(&log_path).context("the log of initdb")?;
        let mut child = self
            .user
            .command(&self.bin.join("initdb"), false)
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("initdb")?;
        let status = loop {
            if let Some(status) = child.try_wait().context("initdb")? {
                break status;
            }
            if self.settings.cancel.is_cancelled() {
                kill_group(&mut child);
                bail!("the start of PostgreSQL was cancelled");
            }
            thread::sleep(Duration::from_millis(10));
        };
        if !status.success() {
            let log = fs::read_to_string(&log_path)
                .unwrap_or_else(|error| format!("its log can't be read: {error}"));
            bail!("initdb: {log}");
        }
        Ok(())
    }

    /// The port in the name of the unix socket. PostgreSQL uses it there even if it does not listen
    /// on TCP.
    fn socket_port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::File::create(self.dir.path().join("log"))?;
        let mut command = self.user.command(&self.bin.join("postgres"), true);
        command
            .arg("-D")
            .arg(self.data())
            .args(["-c", "max_connections=200"])
            .args(["-c", &format!("shared_buffers={}", self.settings.shared_buffers)])
            .args(["-c", &format!("fsync={}", if self.settings.fsync { "on" } else { "off" })])
            .args(["-c", &format!("unix_socket_directories={}", self.dir.path().display())]);
        let listen = if self.port.is_some() { "127.0.0.1" } else { "" };
        command
            .args(["-c", &format!("listen_addresses={listen}")])
            .args(["-c", &format!("port={}", self.socket_port())]);
        for setting in &self.settings.extra {
            command.args(["-c", setting]);
        }
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at a terminal reaches only the starter, which then stops the server.
            .process_group(0);
        spawn_from_lasting_thread(command)
    }

    fn answers(&self) -> bool {
        self.psql("SELECT 1").is_ok()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kills a process and its descendants, which are one process group, and waits for their end.
fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // Errors here and below mean that the processes have ended by now.
        let _ = kill_process_group(group, Signal::KILL);
    }
    // As above.
    let _ = child.wait();
    let until = Instant::now() + PATIENCE;
    while group.is_some_and(|group| test_kill_process_group(group).is_ok())
        && Instant::now() < until
    {
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that the server's user owns, with a path short enough for a unix socket in it.
fn directory(user: &User) -> Result<TempDir> {
    let mut dir = tempfile::Builder::new().prefix("turnpike-pg-").tempdir()?;
    if dir.path().as_os_str().len() > SOCKET_DIR_BYTES_MAX {
        dir = tempfile::Builder::new().prefix("turnpike-pg-").tempdir_in("/tmp")?;
    }
    if let User::Postgres { uid, gid } = *user {
        std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid))
            .with_context(|| format!("chown {}", dir.path().display()))?;
    }
    Ok(dir)
}

/// Spawns the server from a thread that lives as long as the process. The kernel kills a "tied"
/// child when the *thread* that spawned it ends, and the thread of a test ends with the test.
fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: std::sync::OnceLock<mpsc::Sender<Request>> = std::sync::OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, received) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in received {
                // A caller that panicked meanwhile needs no answer.
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).context("the thread that starts servers has ended")?;
    child.recv().context("the thread that starts servers has ended")?.context("postgres")
}
