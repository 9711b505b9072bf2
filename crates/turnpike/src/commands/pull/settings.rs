//! The options and the resolved settings of `turnpike pull`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::{EXIT_CODES, usage};

const EXAMPLES: &str = "\
Registers the consumer if it is new, and continues after its last acknowledged line. With --output,
lines are acknowledged once they are durable on disk; without it, only with --ack. The exit code is
1 if the lines of a segment differ from its control totals, or if the file of --output is not a file
of this feed: then the file is unchanged, and nothing is acknowledged. It is also 1 if another pull
under the same name has acknowledged the lines first, or writes to the same file.

The amounts reported by currency are the sums of the lines that this pull wrote and whose `posting`
is `account`: what is billed to accounts. Lines that were in the file already do not count. A shared
amount counts once, with the account that pays it.

Examples:
  turnpike pull --consumer billing --output lines.csv
  turnpike pull --consumer billing --output lines.jsonl --format jsonl
  turnpike pull --consumer me --no-ack | head
  turnpike pull --consumer billing --output lines.csv --json | jq .amounts";

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullFormat {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Options of `pull`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PullArgs {
    /// The consumer's name: 1 to 128 characters, each a letter, a digit or one of . - _
    #[arg(long, value_name = "NAME")]
    consumer: String,
    /// csv or jsonl [default: by the name of --output, else csv]
    #[arg(long)]
    format: Option<PullFormat>,
    /// Append to this regular file; - for standard output [default: -]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Acknowledge the written lines [default: with a file of --output]
    #[arg(long, conflicts_with = "no_ack")]
    ack: bool,
    /// Do not acknowledge: the next pull gives the same lines
    #[arg(long)]
    no_ack: bool,
    /// Lines per page
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    page: u32,
    /// Stop after this many lines
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max: u64,
    /// Report the totals as JSON (with --output)
    #[arg(long, requires = "output")]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `pull`.
#[derive(Debug)]
pub(crate) struct PullSettings {
    pub(super) consumer: String,
    pub(super) format: PullFormat,
    /// The file to append to; `None` for standard output.
    pub(super) output: Option<PathBuf>,
    pub(super) acknowledge: bool,
    pub(super) page_lines: u32,
    /// The maximum number of lines; 0 for no limit.
    pub(super) lines_max: u64,
    pub(super) json: bool,
    /// Whether progress is not shown.
    pub(super) hidden: bool,
    pub(super) client: ClientSettings,
}

impl PullArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<PullSettings> {
        let format = self.format.unwrap_or_else(|| format_by_name(self.output.as_deref()));
        let output = self.output.filter(|path| path != Path::new("-"));
        if self.json && output.is_none() {
            return Err(usage("--json needs a file for the lines: name one with --output"));
        }
        Ok(PullSettings {
            consumer: self.consumer,
            format,
            acknowledge: !self.no_ack && (self.ack || output.is_some()),
            page_lines: self.page,
            lines_max: self.max,
            json: self.json,
            hidden: context.quiet || self.json || output.is_none(),
            output,
            client: self.client.resolve(&context.config)?,
        })
    }
}

fn format_by_name(output: Option<&Path>) -> PullFormat {
    let extension = output.and_then(Path::extension);
    match extension.and_then(|extension| extension.to_str()) {
        Some("jsonl" | "ndjson") => PullFormat::Jsonl,
        _ => PullFormat::Csv,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    fn resolved(words: &[&str]) -> anyhow::Result<PullSettings> {
        let words = [&["--consumer", "me"], words].concat();
        options::<PullArgs>(&words, &[]).resolve(&context(""))
    }

    #[test]
    fn lines_are_acknowledged_by_default_only_with_a_file() {
        let of = |words: &[&str]| resolved(words).unwrap().acknowledge;
        assert!(!of(&[]) && !of(&["--output", "-"]) && of(&["--output", "lines.csv"]));
        assert!(of(&["--ack"]) && !of(&["--output", "lines.csv", "--no-ack"]));
    }

    #[test]
    fn the_format_is_given_or_follows_from_the_name() {
        let of = |words: &[&str]| resolved(words).unwrap().format;
        assert_eq!(of(&["--output", "lines.jsonl"]), PullFormat::Jsonl);
        assert_eq!(of(&["--output", "lines.jsonl", "--format", "csv"]), PullFormat::Csv);
        assert_eq!(of(&[]), PullFormat::Csv);
        let told = resolved(&["--json", "--output", "-"]).unwrap_err().to_string();
        assert!(told.contains("--json needs a file"), "{told}");
    }
}
