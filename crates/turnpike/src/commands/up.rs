//! `turnpike up`: runs a whole cluster on this machine.
//!
//! ```text
//!  this process --starts, restarts------> front, node-1 .. node-N   (processes of this program)
//!        |                                      |
//!        +---------- partitions ----> DIR/turnpike.db (SQLite) <----+
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use turnpike_harness::process::ListeningServer;
use turnpike_types::AccountRange;

use crate::context::Context;
use crate::data_dir::DataDir;
use crate::defaults::{FRONT_LISTEN, FRONT_URL};
use crate::exit::{EXIT_CODES, Finish};
use crate::local_cluster::{self, ChildSettings, ClusterPlan, LocalCluster, START_MAX};
use crate::partitions::{AcceptanceArgs, split};
use crate::server::ServerTransport;
use crate::settings::Setting;
use crate::stop_signals::StopSignals;
use crate::{server, ui, values};

const EXAMPLES: &str = "\
All data is in DIR/turnpike.db; a new start with the same DIR continues with it. A second `up` on a
DIR that is in use ends with exit code 4. A process that ends is restarted after a few seconds: try
it by killing one, and watch `turnpike status`.

Examples:
  turnpike up
  turnpike up --data /var/lib/turnpike --nodes 3 --partitions 8 --accounts 1-10000000
  turnpike up --data backfill --accept-since 2010-01-01";

/// The number of nodes, and of partitions, that one machine may have.
const NODES: RangeInclusive<i64> = 1..=64;
const PARTITIONS: RangeInclusive<i64> = 1..=10_000;

/// Options of `up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct UpArgs {
    /// The directory of the database [default: turnpike-data]
    #[arg(long, env = "TURNPIKE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The number of nodes [default: 2]
    #[arg(long, env = "TURNPIKE_NODES", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(NODES))]
    nodes: Option<u32>,
    /// The number of partitions, for a new database [default: 4]
    #[arg(long, env = "TURNPIKE_PARTITIONS", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(PARTITIONS))]
    partitions: Option<u32>,
    /// The accounts to split among the partitions, for a new database [default: 1-1000000]
    #[arg(long, value_name = "FIRST-LAST", value_parser = values::accounts)]
    accounts: Option<AccountRange>,
    #[command(flatten)]
    acceptance: AcceptanceArgs,
    /// The front's listening address [default: 127.0.0.1:7070]
    #[arg(long, env = "TURNPIKE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// Let the front accept connections from other machines. A cluster on one machine has no TLS, so
    /// everybody can read and change them
    #[arg(long)]
    insecure_plaintext: bool,
}

/// The delay before a process is restarted: long enough for a standby to take over.
const RESTART_AFTER: Duration = Duration::from_secs(3);

/// The resolved settings of `up`.
#[derive(Debug)]
pub(crate) struct UpSettings {
    data: PathBuf,
    plan: ClusterPlan,
    /// The configuration file, for the first line of the log.
    config_shown: String,
}

impl UpArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<UpSettings> {
        let file = &context.config.up;
        let data = self.data.or_else(|| file.data.clone());
        let nodes = Setting::resolve(("--nodes", self.nodes), ("up.nodes", file.nodes), 2);
        let partitions = Setting::resolve(
            ("--partitions", self.partitions),
            ("up.partitions", file.partitions),
            4,
        );
        let accounts = AccountRange::new(1, 1_000_000)?;
        let listen = Setting::resolve(
            ("--listen", self.listen),
            ("up.listen", file.listen.clone()),
            FRONT_LISTEN.to_owned(),
        );
        let plan = ClusterPlan {
            nodes: bounded(&nodes, NODES)?,
            partitions: Setting { value: bounded(&partitions, PARTITIONS)?, ..partitions },
            accounts: Setting::of_option("--accounts", self.accounts, accounts),
            acceptance: self.acceptance.resolve()?,
            listen,
            insecure_plaintext: self.insecure_plaintext,
            children: ChildSettings::new(context, true),
        };
        split(plan.accounts.value, plan.partitions.value)?;
        Ok(UpSettings {
            data: data.unwrap_or_else(|| PathBuf::from("turnpike-data")),
            plan,
            config_shown: context.config_shown(),
        })
    }
}

/// The value, if it is in the range that the option has; the parser does not see the file's values.
fn bounded(setting: &Setting<u32>, range: RangeInclusive<i64>) -> anyhow::Result<u32> {
    if range.contains(&i64::from(setting.value)) {
        return Ok(setting.value);
    }
    Err(setting.refused(format_args!("write a number from {} to {}", range.start(), range.end())))
}

pub(crate) async fn run(settings: UpSettings) -> anyhow::Result<Finish> {
    let UpSettings { data, plan, config_shown } = settings;
    let mut signals = StopSignals::new()?;
    log_settings(&data, &plan, &config_shown);
    let held = checked(&data, &plan).await?;
    let cluster = tokio::select! {
        cluster = LocalCluster::start(&data, &plan) => cluster?,
        _ = signals.next() => return Ok(Finish::Done),
    };
    ui::print_stderr(format_args!(
        "\nThe cluster serves at http://{}; Ctrl-C stops it.",
        cluster.address()
    ));
    let (first, count) = cluster.accounts_for_load;
    let at = front_option(cluster.address());
    ui::print_stderr(format_args!(
        "Try next:\n  turnpike status{at}\n  turnpike load --setup --first-account {first} \
         --account-count {count} --seconds 5{at}"
    ));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut keepers = JoinSet::new();
    for child in cluster.nodes {
        keepers.spawn(keep(child, stopping.clone()));
    }
    let mut front = tokio::spawn(keep(cluster.front, stopping.clone()));
    tokio::select! {
        _ = signals.next() => {}
        ended = &mut front => {
            // An error means that all keepers have ended.
            let _ = stop.send(true);
            while keepers.join_next().await.is_some() {}
            return ended?.map(|()| Finish::Done);
        }
    }
    ui::print_stderr("stopping; press Ctrl-C again to kill the remaining processes");
    // An error means that all keepers have ended.
    let _ = stop.send(true);
    tokio::select! {
        _ = async {
            while keepers.join_next().await.is_some() {}
            // An error means that the keeper panicked, which was printed.
            let _ = front.await;
        } => {}
        _ = signals.next() => {}
    }
    // The directory stays locked until the last child has ended.
    drop(held);
    Ok(Finish::Done)
}

/// The option with which commands reach a front at this address; empty if it is the default.
fn front_option(address: SocketAddr) -> String {
    // A front that listens at every address is reached at this one.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match format!("http://{}", SocketAddr::new(ip, address.port())) {
        url if url == FRONT_URL => String::new(),
        url => format!(" --front {url}"),
    }
}

/// Checks the address, and locks the data directory. Nothing is created if they can't be used.
async fn checked(data: &Path, plan: &ClusterPlan) -> anyhow::Result<DataDir> {
    let transport = ServerTransport::Plaintext { is_open: plan.insecure_plaintext };
    // If both the directory and the address are in use, the error is about the directory.
    if DataDir::was_used(data) {
        let held = DataDir::lock(data)?;
        drop(server::listen(&plan.listen, &transport).await?);
        return Ok(held);
    }
    drop(server::listen(&plan.listen, &transport).await?);
    DataDir::lock(data)
}

/// Writes the first line of the log: version and settings. An existing database keeps its
/// partitions, whatever the options say.
fn log_settings(data: &Path, plan: &ClusterPlan, config_shown: &str) {
    let is_new = !DataDir::was_used(data);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        config = config_shown,
        data = %data.display(),
        listen = plan.listen.value,
        nodes = plan.nodes,
        partitions = is_new.then_some(plan.partitions.value),
        accounts = is_new.then(|| plan.accounts.value.to_string()),
        log = plan.children.log.filter,
        "cluster starts"
    );
}

/// Restarts one child whenever it ends, until the stop signal.
async fn keep(
    mut child: ListeningServer,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let (name, pid) = (child.command.name.clone(), child.process.pid());
        let how = tokio::select! {
            ended = child.process.ended() => match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            () = wait_for_stop(&mut stopping) => {
                local_cluster::stop(child).await;
                return Ok(());
            }
        };
        ui::print_stderr(format_args!("{name} (pid {pid}) ended ({how}); restarting it"));
        let command = child.command;
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(RESTART_AFTER) => {}
                () = wait_for_stop(&mut stopping) => return Ok(()),
            }
            match command.start(START_MAX).await {
                Ok(child) => break child,
                Err(error) => ui::print_stderr(format_args!("{error:#}; retrying")),
            }
        };
        ui::print_stderr(format_args!("{name} is running again (pid {})", child.process.pid()));
    }
}

/// Waits for the stop signal.
async fn wait_for_stop(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that the sender is gone: the program ends.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    fn resolved(words: &[&str], file: &str) -> anyhow::Result<UpSettings> {
        options::<UpArgs>(words, &[]).resolve(&context(file))
    }

    #[test]
    fn an_option_beats_the_file_which_beats_the_default() {
        let of = |words: &[&str], file| {
            let UpSettings { data, plan, .. } = resolved(words, file).unwrap();
            let (nodes, partitions) = (plan.nodes, plan.partitions.value);
            (data.display().to_string(), nodes, partitions, plan.listen.value)
        };
        let file = "[up]\ndata = \"f\"\nnodes = 5\npartitions = 6\nlisten = \"file:1\"";
        let given = ["--data", "o", "--nodes", "7", "--partitions", "8", "--listen", "option:1"];
        assert_eq!(of(&given, file), ("o".to_owned(), 7, 8, "option:1".to_owned()));
        assert_eq!(of(&[], file), ("f".to_owned(), 5, 6, "file:1".to_owned()));
        let data = "turnpike-data".to_owned();
        assert_eq!(of(&[], ""), (data, 2, 4, FRONT_LISTEN.to_owned()));
    }

    #[test]
    fn a_number_in_the_file_is_bounded_like_the_option() {
        for (text, source) in [
            ("nodes = 0", "up.nodes in the configuration file, 0: write a number from 1 to 64"),
            ("nodes = 65", "up.nodes in the configuration file, 65: "),
            ("partitions = 0", "up.partitions in the configuration file, 0: "),
            ("partitions = 10001", "up.partitions in the configuration file, 10001: "),
        ] {
            let told = resolved(&[], &format!("[up]\n{text}")).unwrap_err().to_string();
            assert!(told.starts_with(source), "{told}");
        }
        assert!(resolved(&[], "[up]\nnodes = 64\npartitions = 10000").is_ok());
    }

    #[test]
    fn suggested_commands_name_a_front_that_is_not_at_the_default_address() {
        let of = |address: &str| front_option(address.parse().unwrap());
        assert_eq!(of(FRONT_LISTEN), "");
        assert_eq!(of("0.0.0.0:7070"), "");
        assert_eq!(of("127.0.0.1:17070"), " --front http://127.0.0.1:17070");
        assert_eq!(of("192.0.2.7:7070"), " --front http://192.0.2.7:7070");
        assert_eq!(of("[::]:7070"), " --front http://[::1]:7070");
    }

    #[test]
    fn settings_that_no_cluster_can_have_are_refused_before_anything_is_created() {
        let refused = |words: &[&str]| resolved(words, "").unwrap_err().to_string();
        let told = refused(&["--accounts", "1-3", "--partitions", "4"]);
        assert!(told.contains("fewer accounts than 4 partitions"), "{told}");
        let told = refused(&["--accept-since", "9999-01-01"]);
        assert!(told.contains("is in the future"), "{told}");
    }
}
