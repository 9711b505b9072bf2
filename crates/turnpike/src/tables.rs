//! Reads reference tables from files; errors are prefixed with the file name.

use std::path::Path;

use anyhow::anyhow;
use turnpike_plan::Table;
use turnpike_types::limits::TABLE_BYTES_MAX;

use crate::{ui, usage_file};

/// Reads the text of a table's file, also if the file is compressed or in UTF-16.
pub(crate) fn read_text(file: &Path) -> anyhow::Result<String> {
    let opened = usage_file::open(file)?;
    Ok(turnpike_collect::read_text(&file.display().to_string(), opened, TABLE_BYTES_MAX)?)
}

/// Reads a table from a file, and prints its warnings.
pub(crate) fn load(file: &Path) -> anyhow::Result<Table> {
    parse(file, &read_text(file)?)
}

/// Checks the table in `text`, and prints its warnings; messages refer to `file`.
pub(crate) fn parse(file: &Path, text: &str) -> anyhow::Result<Table> {
    let name = file.display();
    let table = turnpike_plan::parse_table(text).map_err(|errors| {
        // One error per line, each prefixed with the file, so that editors can jump to it.
        let faults: Vec<String> = errors.0.iter().map(|error| format!("{name}: {error}")).collect();
        anyhow!("{}", faults.join("\n"))
    })?;
    for warning in table.warnings() {
        ui::print_stderr(format_args!("{name}: warning: {warning}"));
    }
    Ok(table)
}
