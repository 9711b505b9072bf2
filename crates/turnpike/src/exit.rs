//! The results of commands, and their exit codes.

use std::process::ExitCode;

/// The exit codes, as shown by `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: nothing, or not all, was done
  2  the command line or the configuration is wrong
  3  done, but rows were bad, or records were suspended or rejected
  4  another process runs under this node's name, or on this data directory;
     starting again does not help while it runs";

/// The result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The whole request was carried out.
    Done,
    /// A part was carried out; the rest was reported.
    Partial,
    /// A comparison found differences, and its exit code was requested.
    Different,
}

impl Finish {
    /// [`Finish::Partial`] if a part of the request was not carried out, else [`Finish::Done`].
    pub(crate) const fn unless(left_over: bool) -> Self {
        if left_over { Self::Partial } else { Self::Done }
    }
}

/// An error in the command line or in the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// An error that ends in exit code 2.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// The error that another process uses the name or directory that this process needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InUse(String);

/// An error that ends in exit code 4.
pub(crate) fn in_use(message: impl Into<String>) -> anyhow::Error {
    InUse(message.into()).into()
}

/// The exit code of a command's result; prints the error.
pub(crate) fn code(result: &anyhow::Result<Finish>) -> ExitCode {
    match result {
        Ok(Finish::Done) => ExitCode::SUCCESS,
        Ok(Finish::Partial) => ExitCode::from(3),
        Ok(Finish::Different) => ExitCode::from(1),
        // The reader closed the pipe, as in `turnpike pull | head`: no error.
        Err(error) if is_broken_pipe(error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.chain().find_map(code_of).unwrap_or(1);
            crate::ui::print_error(format_args!("{error:#}"), code);
            ExitCode::from(code)
        }
    }
}

/// Prints a parser error or the requested help, and returns the exit code.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && crate::ui::stderr_is_json() {
        let said = error.to_string();
        crate::ui::print_error(said.strip_prefix("error: ").unwrap_or(&said), 2);
    } else if let Err(error) = error.print() {
        tracing::debug!(%error, "the parser's message could not be printed");
    }
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<UsageError>() {
        Some(2)
    } else if cause.is::<InUse>() {
        Some(4)
    } else {
        None
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(io) => Some(io.kind()),
            _ => None,
        });
        let json = cause.downcast_ref::<serde_json::Error>().and_then(|e| e.io_error_kind());
        [io, csv, json].contains(&Some(std::io::ErrorKind::BrokenPipe))
    })
}
