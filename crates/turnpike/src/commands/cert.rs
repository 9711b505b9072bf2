//! `turnpike cert`: certificates for installations without an authority of their own.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use turnpike_access::certificates::{
    Authority, AuthorityError, CERTIFICATE_MODE, CertificateClock, CertificateFacts,
    CertificateHolder, CertificateRequest, CertificateUri, FileExists, IssuedCertificate, KEY_MODE,
    LoadError, certificates_in, create_directory, replace_file, system_clock, system_reader,
    write_new,
};

use crate::exit::{EXIT_CODES, Finish, usage};
use crate::{ui, values};

const DAY_S: u64 = 86_400;
/// A certificate that ends within this time is reported.
const NEAR_S: u64 = 14 * DAY_S;
/// The validity of an authority and of other certificates.
const AUTHORITY_VALID: &str = "3650d";
const CERTIFICATE_VALID: &str = "90d";
/// The directory of the authority.
const AUTHORITY_DIR: &str = "turnpike-ca";

const EXAMPLES: &str = "\
An authority (ca) issues a certificate to each node, front, client and administrator. Servers and
commands get three files: --certificate, --key, and --ca with the authority's certificate. The
authority's key, DIR/ca.key, can issue a certificate for anybody: keep it away from the servers.

Examples:
  turnpike cert ca --cluster prod                  makes turnpike-ca/ca.crt and turnpike-ca/ca.key
  turnpike cert issue node a --out certs           makes certs/node-a.crt and certs/node-a.key
  turnpike cert issue front f1 --host front1.example.net --out certs
  turnpike cert issue admin alice --out certs      the first administrator
  turnpike cert show certs/node-a.crt              identity, validity, issuer
  turnpike cert renew certs/node-a.crt             a new key and certificate, in place";

/// The certificate commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) enum CertCommand {
    /// Makes an authority for a cluster
    Ca(CaArgs),
    /// Issues a certificate with a new key
    Issue(IssueArgs),
    /// Shows what certificates state, and whether they are valid
    Show(ShowArgs),
    /// Replaces certificates and their keys by new ones for the same holders
    Renew(RenewArgs),
}

const CA_EXAMPLES: &str = "\
To replace an authority: make another in a new directory; give every process a --ca file with both
certificates; renew all certificates with the new authority; remove the old certificate from the
--ca files. Processes read changed files within a few seconds.

Examples:
  turnpike cert ca --cluster prod
  turnpike cert ca --cluster prod --dir ca-2027 --valid-for 1825d";

/// Options of `cert ca`.
#[derive(Debug, Args)]
#[command(after_help = CA_EXAMPLES)]
pub(crate) struct CaArgs {
    /// The cluster's name: a part of each identity, so that another cluster's certificates are refused
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// The directory for ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = AUTHORITY_DIR)]
    dir: PathBuf,
    /// How long the authority is valid
    #[arg(long, value_name = "TIME", default_value = AUTHORITY_VALID, value_parser = validity)]
    valid_for: Duration,
    /// Overwrite existing files. Certificates of the old authority become useless
    #[arg(long)]
    force: bool,
}

const ISSUE_EXAMPLES: &str = "\
The identity is spiffe://CLUSTER/KIND/NAME. A node's name is that of --name; those of fronts,
clients and administrators are free. Turnpike itself does not compare host names. Other clients do:
name the hosts under which they reach a front.

Examples:
  turnpike cert issue node a
  turnpike cert issue front f1 --host front1.example.net --host 10.0.0.1
  turnpike cert issue client mediation-7 --valid-for 30d --out /secure/mediation-7";

/// Options of `cert issue`.
#[derive(Debug, Args)]
#[command(after_help = ISSUE_EXAMPLES)]
pub(crate) struct IssueArgs {
    /// What the certificate is for: node, front, client or admin
    #[arg(value_name = "KIND", value_parser = holder)]
    holder: CertificateHolder,
    /// The name of the node, front, client or administrator
    name: String,
    /// The directory of the authority
    #[arg(long = "ca-dir", value_name = "DIR", default_value = AUTHORITY_DIR)]
    authority: PathBuf,
    /// The directory for KIND-NAME.crt and KIND-NAME.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// A host name or address under which clients reach a front; repeat for more
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// How long the certificate is valid
    #[arg(long, value_name = "TIME", default_value = CERTIFICATE_VALID, value_parser = validity)]
    valid_for: Duration,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

const SHOW_EXAMPLES: &str = "\
Ends with exit code 3 if a certificate has expired, is not valid yet, or ends within 14 days.

Examples:
  turnpike cert show certs/node-a.crt turnpike-ca/ca.crt";

/// Options of `cert show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// Files of certificates (PEM)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

const RENEW_EXAMPLES: &str = "\
The key is the file of the same name that ends in .key. Both files are replaced, and keep their
owner and mode. Identity and host names stay. A running process uses the new files within a few
seconds. Run it from a timer, such as every month.

Examples:
  turnpike cert renew certs/node-a.crt certs/front-f1.crt
  turnpike cert renew certs/node-a.crt --ca-dir ca-2027     by another authority";

/// Options of `cert renew`.
#[derive(Debug, Args)]
#[command(after_help = RENEW_EXAMPLES)]
pub(crate) struct RenewArgs {
    /// The certificates
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The directory of the authority
    #[arg(long = "ca-dir", value_name = "DIR", default_value = AUTHORITY_DIR)]
    authority: PathBuf,
    /// How long the new certificates are valid
    #[arg(long, value_name = "TIME", default_value = CERTIFICATE_VALID, value_parser = validity)]
    valid_for: Duration,
}

/// A validity: a duration with a unit. A number of days without unit would be read as seconds.
fn validity(text: &str) -> Result<Duration, String> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; write for example 90d"));
    }
    values::patience(text)
}

fn holder(text: &str) -> Result<CertificateHolder, String> {
    text.parse().map_err(|_| "write node, front, client or admin".to_owned())
}

pub(crate) fn run(command: CertCommand) -> anyhow::Result<Finish> {
    let clock = system_clock();
    match command {
        CertCommand::Ca(args) => make_authority(&args, &clock),
        CertCommand::Issue(args) => issue(&args, &clock),
        CertCommand::Show(args) => show(&args, &clock),
        CertCommand::Renew(args) => renew(&args, &clock),
    }
}

fn make_authority(args: &CaArgs, clock: &CertificateClock) -> anyhow::Result<Finish> {
    let made = Authority::create(&args.cluster, args.valid_for, clock()).map_err(told)?;
    let files = Pair { certificate: args.dir.join("ca.crt"), key: args.dir.join("ca.key") };
    files.write(&made, args.force)?;
    ui::print(format_args!(
        "authority of cluster {}, until {}\n  {}   for the --ca of every server and command\n  {}   \
         issues certificates: keep it secret, and away from the servers",
        args.cluster,
        date(made.facts.not_after_s),
        files.certificate.display(),
        files.key.display(),
    ))?;
    Ok(Finish::Done)
}

fn issue(args: &IssueArgs, clock: &CertificateClock) -> anyhow::Result<Finish> {
    let authority = read_authority(&args.authority)?;
    let uri = CertificateUri::new(&authority.cluster, args.holder, &args.name).map_err(usage)?;
    let base = format!("{}-{}", args.holder, args.name);
    let files = Pair {
        certificate: args.out.join(format!("{base}.crt")),
        key: args.out.join(format!("{base}.key")),
    };
    let request = CertificateRequest { uri, hosts: args.hosts.clone(), validity: args.valid_for };
    let made = authority.issue(&request, clock()).map_err(told)?;
    files.write(&made, args.force)?;
    report(&request, &made, &authority, &files, clock)?;
    Ok(Finish::Done)
}

fn renew(args: &RenewArgs, clock: &CertificateClock) -> anyhow::Result<Finish> {
    let authority = read_authority(&args.authority)?;
    // All are made before the first file is replaced.
    let mut renewed = Vec::new();
    for file in &args.files {
        let files = Pair { certificate: file.clone(), key: file.with_extension("key") };
        if files.key == files.certificate || !files.key.exists() {
            return Err(usage(format!(
                "{} is not there: the key of {} must be a file of the same name that ends in .key",
                files.key.display(),
                file.display()
            )));
        }
        let facts = read_certificates(file)?;
        // The first certificate of a chain is that of the holder.
        let facts = facts.first().with_context(|| format!("{} is empty", file.display()))?;
        let request = CertificateRequest::like(facts, args.valid_for)
            .map_err(|why| usage(format!("{} can't be renewed: {why}", file.display())))?;
        if request.uri.cluster != authority.cluster {
            return Err(usage(format!(
                "{} is that of {}, and the authority in {} is that of cluster {}",
                file.display(),
                request.uri,
                args.authority.display(),
                authority.cluster
            )));
        }
        let made = authority.issue(&request, clock()).map_err(told)?;
        renewed.push((files, request, made));
    }
    for (files, request, made) in &renewed {
        files.replace(made)?;
        report(request, made, &authority, files, clock)?;
    }
    Ok(Finish::Done)
}

fn report(
    request: &CertificateRequest,
    made: &IssuedCertificate,
    authority: &Authority,
    files: &Pair,
    clock: &CertificateClock,
) -> anyhow::Result<()> {
    let until = made.facts.not_after_s;
    ui::print(format_args!(
        "{}, until {}\n  {}\n  {}",
        request.uri,
        date(until),
        files.certificate.display(),
        files.key.display()
    ))?;
    if until < clock().as_secs().saturating_add(request.validity.as_secs()) - 1 {
        ui::print_stderr(format_args!(
            "warning: the certificate ends with its authority, on {}: make another authority \
             (`turnpike cert ca --help` shows how to change to it)",
            date(authority.facts.not_after_s)
        ));
    }
    Ok(())
}

fn show(args: &ShowArgs, clock: &CertificateClock) -> anyhow::Result<Finish> {
    let now = clock();
    let mut has_warnings = false;
    for file in &args.files {
        let certificates = read_certificates(file)?;
        let count = certificates.len();
        for (place, facts) in certificates.iter().enumerate() {
            let number =
                if count > 1 { format!(" ({} of {count})", place + 1) } else { String::new() };
            let left_s = facts.not_after_s.saturating_sub(now.as_secs());
            ui::print(format_args!("{}{number}", file.display()))?;
            let list = |items: &[String]| match items {
                [] => "none".to_owned(),
                items => items.join(", "),
            };
            for (name, value) in [
                ("identity", list(&facts.uris)),
                ("hosts", list(&facts.hosts)),
                ("subject", facts.subject.clone()),
                ("issuer", facts.issuer.clone()),
                ("authority", if facts.is_authority { "yes" } else { "no" }.to_owned()),
                ("valid from", date(facts.not_before_s)),
                ("until", format!("{} ({} days)", date(facts.not_after_s), left_s / DAY_S)),
                ("serial", facts.serial.clone()),
                ("sha256", facts.fingerprint.clone()),
            ] {
                ui::print(format_args!("  {name:<11} {value}"))?;
            }
            let fault = match facts.check_dates(now) {
                Err(fault) => Some(fault.to_string()),
                Ok(()) if left_s < NEAR_S => Some(format!("it ends in {} days", left_s / DAY_S)),
                Ok(()) => None,
            };
            if let Some(fault) = fault {
                has_warnings = true;
                ui::print_stderr(format_args!("warning: {}{number}: {fault}", file.display()));
            }
        }
    }
    Ok(Finish::unless(has_warnings))
}

/// The files of a certificate and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    /// Writes both files. Without `force`, neither may exist.
    fn write(&self, made: &IssuedCertificate, force: bool) -> anyhow::Result<()> {
        if force {
            self.create_directory()?;
            return self.replace(made);
        }
        for file in [&self.key, &self.certificate] {
            if file.exists() {
                return Err(usage(FileExists { file: file.clone() }.to_string()));
            }
        }
        self.create_directory()?;
        written(&self.key, write_new(&self.key, &made.key, KEY_MODE))?;
        let certificate = write_new(&self.certificate, &made.certificate, CERTIFICATE_MODE);
        let certificate = written(&self.certificate, certificate);
        if certificate.is_err() {
            // Without its certificate the key is useless, and would be in the way of the next
            // attempt. The error below names the file.
            let _ = std::fs::remove_file(&self.key);
        }
        certificate
    }

    /// Replaces both files.
    fn replace(&self, made: &IssuedCertificate) -> anyhow::Result<()> {
        written(&self.key, replace_file(&self.key, &made.key, KEY_MODE))?;
        let certificate = replace_file(&self.certificate, &made.certificate, CERTIFICATE_MODE);
        written(&self.certificate, certificate)
    }

    fn create_directory(&self) -> anyhow::Result<()> {
        let Some(directory) = self.key.parent().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(());
        };
        create_directory(directory)
            .with_context(|| format!("the directory {} can't be created", directory.display()))
    }
}

fn written(file: &Path, result: io::Result<()>) -> anyhow::Result<()> {
    result.with_context(|| format!("{} can't be written", file.display()))
}

fn read_authority(directory: &Path) -> anyhow::Result<Authority> {
    let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
    if !certificate.exists() {
        return Err(usage(format!(
            "{} is not there: name the authority's directory with --ca-dir, or make one with \
             `turnpike cert ca --cluster NAME`",
            certificate.display()
        )));
    }
    let contents = (read(&certificate)?, read(&key)?);
    let mode = std::fs::metadata(&key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        return Err(usage(format!(
            "{}: others can read this key, and issue certificates with it: run chmod 600 on it, and \
             make another authority if others may have read it",
            key.display()
        )));
    }
    Authority::read((&certificate, &contents.0), (&key, &contents.1)).map_err(told)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    system_reader()(file)
        .map_err(|error| usage(format!("{} can't be read: {error}", file.display())))
}

fn read_certificates(file: &Path) -> anyhow::Result<Vec<CertificateFacts>> {
    let found = certificates_in(file, &read(file)?);
    let found = found.map_err(|error: LoadError| usage(error.to_string()))?;
    let facts = found.iter().map(|certificate| {
        CertificateFacts::read(certificate)
            .map_err(|why| usage(format!("{} is damaged: {why}", file.display())))
    });
    facts.collect()
}

fn told(error: AuthorityError) -> anyhow::Error {
    match error {
        AuthorityError::Failed(_) => error.into(),
        error => usage(error.to_string()),
    }
}

/// An instant, for people.
fn date(seconds: u64) -> String {
    let instant = i64::try_from(seconds).ok().map(jiff::Timestamp::from_second);
    match instant {
        Some(Ok(instant)) => instant.to_string(),
        _ => "after the year 9999".to_owned(),
    }
}
