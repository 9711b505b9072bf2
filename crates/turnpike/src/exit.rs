//! How a command ended, and what its exit code says.

use std::process::ExitCode;

/// The exit codes, as `--help` tells them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: nothing, or not all, was done
  2  the command line or the configuration is wrong
  3  done, but rows were bad, or records were suspended or rejected";

/// A command that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Everything that was asked.
    Done,
    /// Everything that could be done; the rest was told.
    Partial,
    /// What was compared is different, and whoever asked wants to know by the exit code.
    Different,
}

impl Finish {
    /// [`Finish::Done`] when nothing was left over.
    pub(crate) const fn unless(left_over: bool) -> Self {
        if left_over { Self::Partial } else { Self::Done }
    }
}

/// Said wrongly: the command line or the configuration, not the world.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// An error that ends in exit code 2.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// The exit code of a command's result; tells the error.
pub(crate) fn code(result: &anyhow::Result<Finish>) -> ExitCode {
    match result {
        Ok(Finish::Done) => ExitCode::SUCCESS,
        Ok(Finish::Partial) => ExitCode::from(3),
        Ok(Finish::Different) => ExitCode::from(1),
        // Whoever reads our output has had enough: `turnpike pull | head`.
        Err(error) if is_broken_pipe(error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::ui::tell(format_args!("error: {error:#}"));
            let misused = error.chain().any(|cause| cause.is::<UsageError>());
            ExitCode::from(if misused { 2 } else { 1 })
        }
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
