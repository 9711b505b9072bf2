//! Expectations as comma-separated values.
//!
//! Columns: `record_id` (or `record`), `component`, one of `quantity` (`3600 s`, or base units),
//! `units` (base units), `seconds`, `microseconds`, `bytes`, and `amount`; or `suspended`, a
//! reason. If `due` has a date, the row expects a charge due on that date and has no record.
//! `posting` and `late` have the same meaning as in a plan. An empty cell is not compared. The
//! quantities and amounts of rows of the same record (or date), component and posting are added, so
//! the output of `turnpike rate` is a valid file of expectations; its other columns are ignored.

use std::collections::BTreeMap;

use jiff::civil::Date;
use turnpike_plan::{Expectation, Expected, ExpectedQuantity, POSTINGS, Subject, parse_amount};
use turnpike_types::{CsvLine, CsvLineError, Money, SuspenseReason};

/// Columns of the output of `turnpike rate` that are ignored in a file of expectations.
const PASSED_OVER: &[&str] = &[
    "currency",
    "plan",
    "version",
    "primitive",
    "unit",
    "price",
    "period",
    "level_before",
    "level_after",
    "first_unit",
    "kind",
    "account_number",
    "usage_type",
    "start_time",
    "posted_to",
    "line",
    "of",
    "row",
    "partition",
    "segment",
    "duration_us",
    "rated_at",
    "of_row",
    "source",
    "table_row",
];

/// Maximum number of reported errors per file.
const FAULTS_MAX: usize = 50;

/// A row that can't be read.
#[derive(Debug)]
pub(crate) struct BadRow {
    /// The position, such as `expected.csv:3`.
    pub(crate) at: String,
    pub(crate) problem: String,
}

/// Parses a file of expectations.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Vec<Expectation>, Vec<BadRow>> {
    let bad = |line: u64, problem: String| BadRow { at: format!("{name}:{line}"), problem };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let breaks = before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        vec![bad(breaks + 1, "it is not UTF-8; save the file as UTF-8".to_owned())]
    })?;
    // Spreadsheets write a byte order mark before the first column name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut cells = CsvLine::default();
    let first = lines.next();
    let line = first.map_or(1, |(line, _)| line);
    if let Some((_, header)) = first {
        cells.split(header, ',').map_err(|error| vec![bad(line, bad_quote(error))])?;
    }
    let columns = columns(&cells).map_err(|problem| vec![bad(line, problem)])?;
    let mut sums = Sums::default();
    let mut faults = Vec::new();
    for (line, text) in lines {
        let split = cells.split(text, ',');
        let is_open = matches!(split, Err(CsvLineError::Unclosed { .. }));
        let read = split.map_err(bad_quote).and_then(|()| {
            if cells.len() != columns.len() {
                let (found, expected) = (cells.len(), columns.len());
                return Err(format!("the row has {found} fields, the header {expected}"));
            }
            sums.add(&columns, &cells, line)
        });
        faults.extend(read.err().map(|problem| bad(line, problem)));
        // After an open quote, the row boundaries are unknown.
        if is_open || faults.len() >= FAULTS_MAX {
            break;
        }
    }
    if faults.is_empty() { Ok(sums.expectations) } else { Err(faults) }
}

fn bad_quote(error: CsvLineError) -> String {
    format!("{error}; write \"\" for a quote within quotes, and no line breaks within a field")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Record,
    Due,
    Posting,
    Late,
    Component,
    Quantity(Written),
    Amount,
    Suspended,
    PassedOver,
}

/// How a column states the unit of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// The cell contains the unit, such as `2 h`; a number without a unit is in base units.
    Itself,
    /// The cell is in the unit that the column's name states.
    In(&'static str),
}

fn columns(header: &CsvLine) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header.iter() {
        let column = match name.trim() {
            "record_id" | "record" => Column::Record,
            "due" => Column::Due,
            "posting" => Column::Posting,
            "late" => Column::Late,
            "component" => Column::Component,
            // If there is a `units` column, the `quantity` column holds the quantity of the whole
            // record.
            "quantity" if header.iter().any(|other| other == "units") => Column::PassedOver,
            "quantity" | "units" => Column::Quantity(Written::Itself),
            "seconds" => Column::Quantity(Written::In("s")),
            "microseconds" => Column::Quantity(Written::In("us")),
            "bytes" | "octets" => Column::Quantity(Written::In("B")),
            "amount" => Column::Amount,
            "suspended" => Column::Suspended,
            other if PASSED_OVER.contains(&other) => Column::PassedOver,
            other => {
                return Err(format!(
                    "column {other:?} is unknown; write record_id, component, one of quantity \
                     units seconds microseconds bytes, amount, suspended, due, posting, late"
                ));
            }
        };
        let quantity = matches!(column, Column::Quantity(_));
        let again =
            |known: &Column| *known == column || quantity && matches!(known, Column::Quantity(_));
        if column != Column::PassedOver && columns.iter().any(again) {
            return Err(format!("column {name:?} has the same meaning as another one; keep one"));
        }
        columns.push(column);
    }
    for (column, name) in [(Column::Record, "record_id"), (Column::Component, "component")] {
        if !columns.contains(&column) {
            return Err(format!("there is no column {name}"));
        }
    }
    Ok(columns)
}

/// The expectations read so far. Rows with the same record (or date), component and posting are
/// added.
#[derive(Default)]
struct Sums {
    expectations: Vec<Expectation>,
    /// The index of each expectation, by subject, component and posting.
    places: BTreeMap<(Subject, String, Option<&'static str>), usize>,
}

#[derive(Default)]
struct Row<'a> {
    record: &'a str,
    due: Option<Date>,
    component: &'a str,
    posting: Option<&'static str>,
    late: Option<bool>,
    quantity: Option<ExpectedQuantity>,
    amount: Option<Money>,
    suspended: Option<SuspenseReason>,
}

impl Sums {
    fn add(&mut self, columns: &[Column], cells: &CsvLine, line: u64) -> Result<(), String> {
        let row = row(columns, cells)?;
        let of = match row.due {
            Some(date) => Subject::Due(date),
            None => Subject::Record(row.record.to_owned()),
        };
        let key = (of.clone(), row.component.to_owned(), row.posting);
        let place = self.places.get(&key).and_then(|&place| self.expectations.get_mut(place));
        if let Some(held) = place {
            return add_to(&mut held.expected, row);
        }
        self.places.insert(key, self.expectations.len());
        let late = row.late;
        let expected = match row.suspended {
            Some(reason) => Expected::Suspended(reason),
            None => Expected::Lines {
                component: row.component.to_owned(),
                posting: row.posting,
                quantity: row.quantity,
                amount: row.amount,
            },
        };
        self.expectations.push(Expectation { line, of, late, expected });
        Ok(())
    }
}

fn row<'a>(columns: &[Column], cells: &'a CsvLine) -> Result<Row<'a>, String> {
    let mut row = Row::default();
    for (column, cell) in columns.iter().zip(cells.iter()).filter(|(_, cell)| !cell.is_empty()) {
        match column {
            Column::Record => match cell.strip_prefix("due:") {
                Some(due) => row.due = Some(date(due)?),
                None => row.record = cell,
            },
            Column::Component => row.component = cell,
            Column::Due => row.due = Some(date(cell)?),
            Column::Posting => row.posting = Some(posting(cell)?),
            Column::Late => row.late = Some(truth(cell)?),
            Column::Quantity(written) => row.quantity = Some(quantity(*written, cell)?),
            Column::Amount => row.amount = Some(parse_amount(cell)?),
            Column::Suspended => {
                let known = SuspenseReason::ALL.iter().find(|reason| reason.word() == cell);
                row.suspended = Some(*known.ok_or_else(|| format!("{cell:?} is not a reason"))?);
            }
            Column::PassedOver => {}
        }
    }
    let has_lines = !row.component.is_empty() || row.quantity.is_some() || row.amount.is_some();
    match row.suspended {
        _ if row.record.is_empty() && row.due.is_none() => Err("the row has no record".to_owned()),
        _ if !row.record.is_empty() && row.due.is_some() => {
            Err("the row has both a record and a due date; keep one".to_owned())
        }
        Some(_) if has_lines => {
            Err("a suspended record has no lines; leave their columns empty".to_owned())
        }
        None if row.component.is_empty() => Err("the row has no component".to_owned()),
        _ => Ok(row),
    }
}

fn date(cell: &str) -> Result<Date, String> {
    cell.parse().map_err(|_| format!("{cell:?} is not a date; write one such as 2026-02-01"))
}

fn posting(cell: &str) -> Result<&'static str, String> {
    let known = POSTINGS.into_iter().find(|word| *word == cell);
    known.ok_or_else(|| format!("{cell:?} is not a posting; write one of {}", POSTINGS.join(" ")))
}

fn truth(cell: &str) -> Result<bool, String> {
    cell.parse().map_err(|_| format!("{cell:?} is neither true nor false"))
}

fn quantity(written: Written, cell: &str) -> Result<ExpectedQuantity, String> {
    match written {
        Written::Itself => ExpectedQuantity::parse(cell),
        Written::In(unit) => ExpectedQuantity::parse(&format!("{cell} {unit}")),
    }
}

/// Adds a row to an expectation; a value that is missing in either is not compared.
fn add_to(held: &mut Expected, row: Row<'_>) -> Result<(), String> {
    let Expected::Lines { quantity, amount, .. } = held else {
        return Err(format!("the result of record {} is given twice", row.record));
    };
    let large = || "the rows of this record and component add up to too much".to_owned();
    *amount = match (*amount, row.amount) {
        (Some(one), Some(other)) => Some(one.checked_add(other).ok_or_else(large)?),
        _ => None,
    };
    *quantity = match (quantity.take(), row.quantity) {
        (Some(one), Some(other)) => {
            let base = one.base.checked_add(other.base).ok_or_else(large)?;
            Some(ExpectedQuantity { text: format!("{base} base units"), base, unit: one.unit })
        }
        _ => None,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let faults = read("e.csv", text.as_bytes()).err().unwrap_or_default();
        faults.into_iter().map(|fault| format!("{} {}", fault.at, fault.problem)).collect()
    }

    #[test]
    fn quantities_are_written_in_any_of_several_columns() {
        for (column, cell) in [
            ("quantity", "3600 s"),
            ("quantity", "3600000000"),
            ("units", "3600000000"),
            ("seconds", "3600.000000"),
            ("microseconds", "3600000000"),
        ] {
            let text = format!("record_id,component,{column},amount\nr1,peak,{cell},1.00\n");
            let read = read("e.csv", text.as_bytes()).unwrap();
            let Expected::Lines { quantity, .. } = &read[0].expected else { panic!("{read:?}") };
            assert_eq!(quantity.as_ref().unwrap().base, 3_600_000_000, "{column}");
            assert_eq!((read[0].of.to_string().as_str(), read[0].line), ("record r1", 2));
        }
    }

    #[test]
    fn rows_of_one_record_and_component_add_up() {
        let text =
            "record_id,component,quantity,amount,price\nr1,c,1,0.1,x\nr2,c,5,5,x\nr1,c,2,0.2,x\n";
        let read = read("e.csv", text.as_bytes()).unwrap();
        let Expected::Lines { quantity, amount, .. } = &read[0].expected else {
            panic!("{read:?}")
        };
        assert_eq!((read.len(), quantity.as_ref().unwrap().base), (2, 3));
        assert_eq!(amount.unwrap().to_string(), "0.300000000");
    }

    #[test]
    fn an_open_quote_is_reported_with_its_line_and_nothing_after_it_is_compared() {
        let text = "record_id,component,amount\nr1,c,1\nr2,\"c,1\nr3,c,dear\nr4,c\",1\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("e.csv:3 a quote is opened in field 2"), "{problems:?}");
        let behind = self::problems("record_id,component,amount\nr2,\"c\"d,1\nr3,c,dear\n");
        assert_eq!(behind.len(), 2, "{behind:?}");
        assert!(self::problems("record_id,\"component\n").len() == 1);
        let latin = read("e.csv", b"record_id,component\nr\xe9,c\n").unwrap_err();
        assert_eq!(latin[0].at, "e.csv:2");
    }

    #[test]
    fn an_unreadable_row_is_reported_with_its_line() {
        let said = |text: &str, words: &str| {
            let problems = problems(text);
            assert!(problems.iter().any(|p| p.contains(words)), "{words:?} not in {problems:?}");
        };
        said("", "e.csv:1 there is no column record_id");
        said("record_id,component,colour\n", "e.csv:1 column \"colour\" is unknown");
        said(
            "record_id,component,seconds,bytes\n",
            "e.csv:1 column \"bytes\" has the same meaning",
        );
        said("record_id,component,amount\nr1,c,dear\n", "e.csv:2 \"dear\" is not a number");
        said("record_id,component,amount\nr1,c\n", "e.csv:2");
        said("record_id,component,amount\n,c,1\n", "e.csv:2 the row has no record");
        said("record_id,component,suspended\nr1,,bored\n", "e.csv:2 \"bored\" is not a reason");
        said("record_id,component,suspended\nr1,c,no-plan\n", "e.csv:2 a suspended record");
        said(
            "record_id,component,suspended\nr1,,no-plan\nr1,,no-plan\n",
            "e.csv:3 the result of record r1",
        );
        said("record_id,component\n\u{0},\n", "e.csv:2 the row has no component");
    }
}
