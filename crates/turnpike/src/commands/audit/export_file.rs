//! The file of an export: a line for each entry, and a last line that says how many there are. Without
//! it, a file that was cut at the end would look whole.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use turnpike_access::audit::export::{ExportEnd, ExportLine};
use turnpike_proto::audit::v1::Row;

/// Writes an export into a new file.
pub(super) struct ExportWriter {
    path: PathBuf,
    file: BufWriter<File>,
    end: ExportEnd,
}

impl ExportWriter {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.with_context(|| not_written(path))?;
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        Ok(Self { path, file, end: ExportEnd::default() })
    }

    pub(super) fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.file, &ExportLine::of(row)?)
            .with_context(|| not_written(&self.path))?;
        self.end.count(row);
        self.file.write_all(b"\n").with_context(|| not_written(&self.path))
    }

    /// Writes the last line. Returns the number of entries once the file is durable.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        let place = || not_written(&self.path);
        serde_json::to_writer(&mut self.file, &self.end).with_context(place)?;
        self.file.write_all(b"\n").with_context(place)?;
        let file = self.file.into_inner().map_err(|error| error.into_error());
        file.with_context(place)?.sync_all().with_context(place)?;
        Ok(self.end.entries)
    }
}

fn not_written(path: &Path) -> String {
    format!("{} can't be written (--output)", path.display())
}

/// Reads an export. Returns the faults of the file: a line that can't be read, and a last line that is
/// missing or does not fit.
pub(super) fn read(path: &Path, mut each: impl FnMut(&Row)) -> anyhow::Result<Vec<String>> {
    let place = path.display();
    let file = File::open(path).with_context(|| format!("{place} can't be read"))?;
    let mut faults = Vec::new();
    let (mut found, mut end) = (ExportEnd::default(), None);
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        let line = line.with_context(|| format!("{place} line {number}"))?;
        if end.is_some() {
            faults.push(format!("{place} line {number} is behind the last line of the export"));
        }
        if let Some(read) = ExportEnd::read(&line) {
            end = Some(read);
            continue;
        }
        match ExportLine::read(&line) {
            Ok(row) => {
                found.count(&row);
                each(&row);
            }
            Err(error) => faults.push(format!("{place} line {number}: {error}")),
        }
    }
    match end {
        Some(end) if end == found => {}
        Some(ExportEnd { entries, last, .. }) => faults.push(format!(
            "{place} has {} entries, and ends with entry {}; its last line says {entries}, and {last}: \
             entries were removed or added",
            found.entries, found.last
        )),
        None => faults.push(format!(
            "{place} lacks the last line of an export, which says how many entries there are: the file \
             was cut, or `turnpike audit export` did not write it"
        )),
    }
    Ok(faults)
}
