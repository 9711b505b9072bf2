//! The settings of TLS, and the certificates of this process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use turnpike_access::certificates::{
    CertificateExpectation, CertificateFiles, CertificateUse, Certificates, LoadError,
    system_clock, system_reader,
};

use crate::config::TlsSection;
use crate::exit::usage;

/// The options of TLS.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// The certificate of this process (PEM), as `turnpike cert issue` writes it
    #[arg(long, env = "TURNPIKE_CERTIFICATE", value_name = "FILE", help_heading = "TLS")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, env = "TURNPIKE_KEY", value_name = "FILE", help_heading = "TLS")]
    key: Option<PathBuf>,
    /// The certificates of the authorities that are trusted (PEM)
    #[arg(long, env = "TURNPIKE_CA", value_name = "FILE", help_heading = "TLS")]
    ca: Option<PathBuf>,
    /// The cluster's name in certificates [default: that in the own certificate]
    #[arg(long, env = "TURNPIKE_CLUSTER", value_name = "NAME", help_heading = "TLS")]
    cluster: Option<String>,
}

/// The resolved settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    files: CertificateFiles,
    cluster: Option<String>,
    /// Whether an option or a variable, and not only the file, asks for TLS.
    pub(crate) is_option: bool,
}

impl TlsArgs {
    /// The settings; `None` if neither option, variable nor file names any. A server needs a
    /// certificate of its own.
    pub(crate) fn resolve(
        self,
        file: &TlsSection,
        is_server: bool,
    ) -> anyhow::Result<Option<TlsSettings>> {
        let is_option = self.certificate.is_some() || self.key.is_some() || self.ca.is_some();
        let certificate = self.certificate.or_else(|| file.certificate.clone());
        let key = self.key.or_else(|| file.key.clone());
        let ca = self.ca.or_else(|| file.ca.clone());
        let cluster = self.cluster.or_else(|| file.cluster.clone());
        let lacks = |option: &str, key: &str| {
            usage(format!(
                "TLS is only partly configured: {option} FILE (or `{key}` in [tls]) is missing; \
                 `turnpike cert issue --help` shows how to make the files"
            ))
        };
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => return Err(lacks("--key", "key")),
            (None, Some(_)) => return Err(lacks("--certificate", "certificate")),
            (None, None) => None,
        };
        match (own, ca) {
            (None, None) if cluster.is_some() => Err(lacks("--ca", "ca")),
            (None, None) => Ok(None),
            (Some(_), None) => Err(lacks("--ca", "ca")),
            (None, Some(_)) if is_server => Err(lacks("--certificate", "certificate")),
            (own, Some(authorities)) => {
                let files = CertificateFiles { own, authorities };
                Ok(Some(TlsSettings { files, cluster, is_option }))
            }
        }
    }
}

impl TlsSettings {
    /// Loads the certificates, and reads them again while the process runs. `name` is the name that
    /// the certificate must contain.
    pub(crate) fn open(
        &self,
        usage_of: CertificateUse,
        name: Option<&str>,
    ) -> anyhow::Result<Certificates> {
        let expected = CertificateExpectation {
            usage: usage_of,
            cluster: self.cluster.clone(),
            name: name.map(str::to_owned),
        };
        let opened =
            Certificates::open(self.files.clone(), expected, system_reader(), system_clock());
        let certificates = opened.map_err(|error: LoadError| usage(error.to_string()))?;
        if let Some((_, key)) = &self.files.own {
            warn_if_public(key);
        }
        tokio::spawn(certificates.clone().watch());
        Ok(certificates)
    }

    /// The files, for the first line of the log.
    pub(crate) fn shown(&self) -> String {
        match &self.files.own {
            Some((certificate, _)) => certificate.display().to_string(),
            None => self.files.authorities.display().to_string(),
        }
    }
}

/// Reports a private key that every user of the machine can read.
fn warn_if_public(key: &Path) {
    match std::fs::metadata(key) {
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => tracing::warn!(
            file = %key.display(),
            "every user of this machine can read the private key: chmod o= FILE"
        ),
        // A key that can't be read is an error elsewhere.
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    fn resolved(words: &[&str], file: &str, is_server: bool) -> Result<Option<String>, String> {
        let settings = options::<TlsArgs>(words, &[]).resolve(&context(file).config.tls, is_server);
        settings.map(|tls| tls.map(|tls| tls.shown())).map_err(|error| error.to_string())
    }

    const FILE: &str = "[tls]\ncertificate = \"f.crt\"\nkey = \"f.key\"\nca = \"ca.crt\"";

    #[test]
    fn an_option_beats_the_file() {
        assert_eq!(resolved(&[], "", true), Ok(None));
        assert_eq!(resolved(&[], FILE, true), Ok(Some("f.crt".to_owned())));
        assert_eq!(resolved(&["--certificate", "o.crt"], FILE, true), Ok(Some("o.crt".to_owned())));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (words, missing) in [
            (&["--certificate", "a"][..], "--key"),
            (&["--key", "a"], "--certificate"),
            (&["--certificate", "a", "--key", "b"], "--ca"),
            (&["--cluster", "c"], "--ca"),
            (&["--ca", "a"], "--certificate"),
        ] {
            let told = resolved(words, "", true).unwrap_err();
            assert!(told.contains(&format!("{missing} FILE")), "{words:?}: {told}");
        }
        assert_eq!(resolved(&["--ca", "a"], "", false), Ok(Some("a".to_owned())), "with a token");
    }
}
