//! The cluster under test: real processes of this program. If a scenario cuts connections, the
//! connections go through proxies.
//!
//! ```text
//!  clients --[proxy]--> front-1 --[proxy]--> a, b
//!                          |                  |
//!                       [proxy]            [proxy]   one per process
//!                          |                  |
//!                          +---- database ----+
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnpike_harness::process::{
    ExpectedProcesses, InheritedSettings, ListeningServer, ServerCommand, ServerLog, ServerProcess,
    StopRequest,
};
use turnpike_harness::proxy::Proxy;

use crate::database::DatabaseAddress;

/// The maximum time until a process listens.
const START_MAX: Duration = Duration::from_secs(60);
/// The maximum time until a process ends after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The parts of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterLayout {
    /// The names of the nodes. The preferred node rotates from partition to partition.
    pub nodes: Vec<&'static str>,
    /// The number of fronts; their names are `front-1` and so on.
    pub fronts: usize,
    /// Whether every partition prefers the first node.
    pub first_owns_all: bool,
    /// The number of members besides the owner that keep a warm replica.
    pub warm_standbys: usize,
    /// Whether the connections of the processes go through proxies.
    pub proxies: bool,
}

impl Default for ClusterLayout {
    fn default() -> Self {
        let nodes = vec!["a", "b"];
        Self { nodes, fronts: 1, first_owns_all: false, warm_standbys: 1, proxies: false }
    }
}

/// A process of the cluster, running or not.
#[derive(Debug)]
struct Member {
    kind: Kind,
    command: ServerCommand,
    running: Option<ListeningServer>,
    /// The proxy for incoming connections.
    incoming_proxy: Option<Proxy>,
    /// The proxy for connections to the database.
    to_database: Option<Proxy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Node,
    Front,
}

/// The processes of a scenario; dropping the value ends them.
#[derive(Debug)]
pub struct DrillCluster {
    members: BTreeMap<String, Member>,
    /// The addresses of the fronts for clients.
    fronts: Vec<String>,
    /// The processes that must not end unless the drill ends them.
    expected: ExpectedProcesses,
}

impl DrillCluster {
    /// Starts the processes, without waiting until the partitions are served.
    pub(crate) async fn start(
        binary: &Path,
        dir: &Path,
        database: &DatabaseAddress,
        layout: &ClusterLayout,
        expected: &ExpectedProcesses,
    ) -> Result<Self> {
        let config = dir.join("turnpike.toml");
        let standbys = layout.warm_standbys;
        std::fs::write(&config, format!("[node]\nwarm-standbys = {standbys}\n"))?;
        let mut cluster = Self { expected: expected.clone(), ..Self::joined(Vec::new()) };
        let nodes = layout.nodes.iter().map(|name| ((*name).to_owned(), Kind::Node));
        let fronts = (1..=layout.fronts).map(|number| (format!("front-{number}"), Kind::Front));
        for (name, kind) in nodes.chain(fronts) {
            let made = Making { binary, dir, config: &config, database, proxies: layout.proxies };
            let member = made.member(&name, kind).await?;
            cluster.members.insert(name.clone(), member);
        }
        let starts = cluster.members.values_mut().map(|member| member.start(expected));
        futures::future::try_join_all(starts).await?;
        let fronts = cluster.members.values().filter(|member| member.kind == Kind::Front);
        let addresses = fronts.filter_map(Member::address);
        cluster.fronts = addresses.map(|address| format!("http://{address}")).collect();
        Ok(cluster)
    }

    /// A running cluster that the drill did not start: it has no processes to kill.
    pub(crate) fn joined(fronts: Vec<String>) -> Self {
        Self { members: BTreeMap::new(), fronts, expected: ExpectedProcesses::default() }
    }

    /// The addresses of the fronts for clients.
    pub fn fronts(&self) -> Vec<String> {
        self.fronts.clone()
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.members.iter().filter(|(_, member)| member.kind == Kind::Node);
        nodes.map(|(name, _)| name.clone()).collect()
    }

    /// The names of the nodes and fronts.
    pub fn all(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Whether the process is running.
    pub fn is_running(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|member| member.running.is_some())
    }

    /// Kills a process with SIGKILL.
    ///
    /// # Errors
    /// The process is not running.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let member = self.member(name)?;
        let (shown, running) = (member.shown(), member.running.take());
        self.expected.release(&shown);
        running.with_context(|| format!("{name} is not running"))?.process.kill()
    }

    /// Restarts a process.
    ///
    /// # Errors
    /// The process does not start listening.
    pub async fn start_again(&mut self, name: &str) -> Result<()> {
        let expected = self.expected.clone();
        self.member(name)?.start(&expected).await.with_context(|| name.to_owned())
    }

    /// Stops a process with SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// The process does not end with success.
    pub async fn stop(&mut self, name: &str) -> Result<()> {
        let member = self.member(name)?;
        let (shown, running) = (member.shown(), member.running.take());
        let running = running.with_context(|| format!("{name} is not running"))?;
        self.expected.release(&shown);
        stop(running).await.context(name.to_owned())
    }

    /// Freezes a process with SIGSTOP.
    ///
    /// # Errors
    /// The process is not running.
    pub fn freeze(&mut self, name: &str) -> Result<()> {
        self.running(name)?.freeze()
    }

    /// Resumes a process with SIGCONT.
    ///
    /// # Errors
    /// The process is not running.
    pub fn resume(&mut self, name: &str) -> Result<()> {
        self.running(name)?.resume()
    }

    /// The proxy in front of a process.
    ///
    /// # Errors
    /// The scenario has no proxies.
    pub fn incoming_proxy(&mut self, name: &str) -> Result<&Proxy> {
        self.member(name)?
            .incoming_proxy
            .as_ref()
            .context("the process has no proxy for incoming connections")
    }

    /// The proxy between a process and the database.
    ///
    /// # Errors
    /// The scenario has no proxies, or the address of the database has no host and port.
    pub fn database_edge(&mut self, name: &str) -> Result<&Proxy> {
        self.member(name)?.to_database.as_ref().context("the process has no proxy to the database")
    }

    fn member(&mut self, name: &str) -> Result<&mut Member> {
        self.members.get_mut(name).with_context(|| format!("there is no {name}"))
    }

    fn running(&mut self, name: &str) -> Result<&ServerProcess> {
        let running = self.member(name)?.running.as_ref();
        Ok(&running.with_context(|| format!("{name} is not running"))?.process)
    }

    /// Stops all running processes, fronts first.
    pub(crate) async fn end(mut self) {
        self.members.values().for_each(|member| self.expected.release(&member.shown()));
        for kind in [Kind::Front, Kind::Node] {
            let members = self.members.values_mut().filter(|member| member.kind == kind);
            let ends = members.filter_map(|member| member.running.take()).map(stop);
            futures::future::join_all(ends).await;
        }
    }
}

/// Stops a process with SIGTERM, and waits for its end.
async fn stop(mut server: ListeningServer) -> Result<()> {
    let status = server.process.stop(StopRequest::Terminate, STOP_MAX).await?;
    ensure!(status.success(), "the process ended with {status}");
    Ok(())
}

/// The parameters for creating members.
struct Making<'a> {
    binary: &'a Path,
    dir: &'a Path,
    config: &'a PathBuf,
    database: &'a DatabaseAddress,
    proxies: bool,
}

/// An address without a listener. A proxy forwards to it until the address of its process is known.
const NOWHERE: &str = "127.0.0.1:1";

impl Making<'_> {
    async fn member(&self, name: &str, kind: Kind) -> Result<Member> {
        let (mut incoming_proxy, mut to_database) = (None, None);
        let mut url = self.database.url.clone();
        if self.proxies {
            incoming_proxy = Some(Proxy::start(NOWHERE).await?);
            if let Some(host_port) = &self.database.host_port {
                let proxy = Proxy::start(host_port.as_str()).await?;
                url = self.database.through(proxy.address())?;
                to_database = Some(proxy);
            }
        }
        let mut arguments = match kind {
            Kind::Node => vec!["node".to_owned(), "--name".to_owned(), name.to_owned()],
            Kind::Front => vec!["front".to_owned()],
        };
        arguments.extend(["--database".to_owned(), url, "--log".to_owned(), "text".to_owned()]);
        if let (Kind::Node, Some(incoming_proxy)) = (kind, &incoming_proxy) {
            arguments.extend(["--advertise".to_owned(), incoming_proxy.address().to_string()]);
        }
        let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        arguments.extend(["--config".into(), self.config.into()]);
        arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
        let command = ServerCommand {
            name: name.to_owned(),
            program: self.binary.to_owned(),
            arguments,
            // Settings of the drill's environment must not change the cluster under test.
            inherits: InheritedSettings::None,
            variables: Vec::new(),
            log: ServerLog::File(self.dir.join(format!("{name}.log"))),
        };
        Ok(Member { kind, command, running: None, incoming_proxy, to_database })
    }
}

impl Member {
    /// The process in messages: `node a`, `front-1`.
    fn shown(&self) -> String {
        let name = &self.command.name;
        match self.kind {
            Kind::Node => format!("node {name}"),
            Kind::Front => name.clone(),
        }
    }

    async fn start(&mut self, expected: &ExpectedProcesses) -> Result<()> {
        let server = self.command.start(START_MAX).await?;
        expected.expect(&self.shown(), server.process.pid());
        if let Some(incoming_proxy) = &self.incoming_proxy {
            incoming_proxy.set_upstream(server.address.to_string());
        }
        if self.kind == Kind::Front
            && let Some(listen) = self.command.arguments.last_mut()
        {
            // A front must listen at the same address after a restart, because clients keep the
            // address.
            *listen = server.address.to_string().into();
        }
        self.running = Some(server);
        Ok(())
    }

    fn address(&self) -> Option<std::net::SocketAddr> {
        let own = self.running.as_ref().map(|running| running.address);
        self.incoming_proxy.as_ref().map(Proxy::address).or(own)
    }
}
