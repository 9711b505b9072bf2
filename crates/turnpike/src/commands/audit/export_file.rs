//! The file of an export: a line for each entry, and a last line that says how many there are. Without
//! it, a file that was cut at the end would look whole.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use turnpike_access::audit::export::{ExportEnd, ExportLine};
use turnpike_proto::audit::v1::Row;
use turnpike_store::AUDIT_ENTRY_BYTES_MAX;

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

/// The longest line that is read: JSON may write a byte of an entry as six characters, and each entry is in
/// its line twice.
const LINE_BYTES_MAX: usize = 16 * AUDIT_ENTRY_BYTES_MAX;
/// The most faults that are named.
const NAMED_MAX: usize = 100;

/// The faults of a file: lines that can't be read, and a last line that is missing or does not fit.
#[derive(Debug, Default)]
pub(super) struct FileFaults {
    /// The first ones.
    pub(super) named: Vec<String>,
    /// How many there are.
    pub(super) count: u64,
}

impl FileFaults {
    fn add(&mut self, fault: String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(fault);
        }
    }
}

/// Reads an export. After a line that is too long the rest of the file is not read.
pub(super) fn read(path: &Path, mut each: impl FnMut(&Row)) -> anyhow::Result<FileFaults> {
    let place = path.display();
    let file = File::open(path).with_context(|| format!("{place} can't be read"))?;
    let mut file = BufReader::new(file);
    let mut faults = FileFaults::default();
    let (mut found, mut end) = (ExportEnd::default(), None);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut rest = file.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        if rest.read_until(b'\n', &mut line).with_context(|| format!("{place} line {number}"))? == 0
        {
            break;
        }
        if line.len() > LINE_BYTES_MAX {
            faults.add(format!(
                "{place} line {number} has more than {LINE_BYTES_MAX} bytes: it is no line of an export, \
                 and the rest of the file was not read"
            ));
            break;
        }
        if end.is_some() {
            faults.add(format!("{place} line {number} is behind the last line of the export"));
        }
        let text = std::str::from_utf8(line.trim_ascii_end());
        if let Some(read) = text.ok().and_then(ExportEnd::read) {
            end = Some(read);
            continue;
        }
        match text.map_err(anyhow::Error::from).and_then(|text| Ok(ExportLine::read(text)?)) {
            Ok(row) => {
                found.count(&row);
                each(&row);
            }
            Err(error) => faults.add(format!("{place} line {number}: {error}")),
        }
    }
    compare_end(path, &found, end.as_ref(), &mut faults);
    Ok(faults)
}

fn compare_end(path: &Path, found: &ExportEnd, end: Option<&ExportEnd>, faults: &mut FileFaults) {
    let place = path.display();
    match end {
        Some(end) if end == found => {}
        Some(ExportEnd { entries, last, .. }) => faults.add(format!(
            "{place} has {} entries, and ends with entry {}; its last line says {entries}, and {last}: \
             entries were removed or added",
            found.entries, found.last
        )),
        None => faults.add(format!(
            "{place} lacks the last line of an export, which says how many entries there are: the file \
             was cut, or `turnpike audit export` did not write it"
        )),
    }
}
