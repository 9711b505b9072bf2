//! Output: messages on standard error, tables and JSON on standard output, progress bars.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use std::sync::OnceLock;

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// The format of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogOutput {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

static STDERR_FORMAT: OnceLock<LogOutput> = OnceLock::new();

/// Sets the format of messages on standard error to that of the log. Only the first call has
/// effect.
pub(crate) fn set_stderr_format(format: LogOutput) {
    // A later call returns an error and has no effect.
    let _ = STDERR_FORMAT.set(format);
}

/// Whether messages on standard error are JSON lines.
pub(crate) fn stderr_is_json() -> bool {
    STDERR_FORMAT.get() == Some(&LogOutput::Json)
}

/// Writes a line to standard error, as a JSON object if logs are JSON. Write errors are ignored.
pub(crate) fn print_stderr(line: impl fmt::Display) {
    match STDERR_FORMAT.get() {
        Some(LogOutput::Json) => print_stderr_json("INFO", &line.to_string(), None),
        _ => drop(writeln!(io::stderr().lock(), "{line}")),
    }
}

/// Writes the error that ends the process, with the exit code.
pub(crate) fn print_error(error: impl fmt::Display, exit_code: u8) {
    match STDERR_FORMAT.get() {
        Some(LogOutput::Json) => print_stderr_json("ERROR", &error.to_string(), Some(exit_code)),
        _ => drop(writeln!(io::stderr().lock(), "error: {error}")),
    }
}

/// Writes one JSON line with the fields of a log line.
fn print_stderr_json(level: &str, message: &str, exit_code: Option<u8>) {
    let mut fields = serde_json::Map::new();
    fields.insert("message".to_owned(), message.trim().into());
    if let Some(exit_code) = exit_code {
        fields.insert("exit_code".to_owned(), exit_code.into());
    }
    let line = serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": level,
        "fields": fields,
        "target": "turnpike",
    });
    // There is no other place to report that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line to standard output.
pub(crate) fn print(line: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes a value to standard output as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Writes rows to standard output as a table under `header`.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    print(aligned(header, rows))
}

/// Rows under a header in columns, with two spaces between them. The width of a column is that of
/// its widest cell: lines are not broken, so that other programs can read them.
fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A whole number with thousands separators: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A progress bar; visible only on a terminal, and not with `hidden` (quiet or JSON output).
pub(crate) fn progress(
    total: Option<u64>,
    what: impl Into<Cow<'static, str>>,
    hidden: bool,
) -> ProgressBar {
    let hidden = hidden || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match total {
        Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        None => "{msg} {spinner} {human_pos} {per_sec} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Writes the first lines, and the number of lines that are not shown.
pub(crate) fn print_some_stderr<T: fmt::Display>(lines: &[T], shown_max: usize, advice: &str) {
    for line in lines.iter().take(shown_max) {
        print_stderr(format_args!("  {line}"));
    }
    if lines.len() > shown_max {
        print_stderr(format_args!(
            "  … and {} more{advice}",
            count((lines.len() - shown_max) as u64)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::{aligned, count};

    #[test]
    fn columns_are_aligned_by_the_width_that_a_terminal_shows() {
        let rows = [["1", "", "x"], ["22", "東京", "a long cell, which is not broken"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = ["A   BC    D", "1         x", "22  東京  a long cell, which is not broken"];
        assert_eq!(aligned(&["A", "BC", "D"], &rows), lines.join("\n"));
        assert_eq!(aligned(&["A", "BC"], &[]), "A  BC");
        let open = [vec!["long".to_owned(), String::new()]];
        assert_eq!(aligned(&["A", "BC"], &open), "A     BC\nlong", "no spaces at the end");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
