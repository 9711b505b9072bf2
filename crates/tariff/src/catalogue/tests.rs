#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use super::*;

thread_local! {
    /// The number of start dates of versions that were converted to an instant. It measures the
    /// cost of finding a version.
    pub(super) static STARTS_ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The number of start dates that `work` converts to instants.
pub(crate) fn starts_asked(work: impl FnOnce()) -> usize {
    let before = STARTS_ASKED.get();
    work();
    STARTS_ASKED.get() - before
}

/// A catalogue of these plans and tables, published in this order.
pub(crate) fn catalogue_of(plans: &[&str], tables: impl IntoIterator<Item = String>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for xml in plans {
        let plan = turnpike_plan::parse(xml).unwrap();
        let (id, version, starts) = (plan.id().to_owned(), plan.version(), plan.starts());
        let head = VersionHead { id: &id, version, starts, published: catalogue.version() + 1 };
        catalogue.add_plan(&head, Some(Arc::new(plan)));
    }
    for text in tables {
        let table = turnpike_plan::parse_table(&text).unwrap();
        let (id, version, starts) = (table.id().to_owned(), table.version(), table.starts());
        let head = VersionHead { id: &id, version, starts, published: catalogue.version() + 1 };
        catalogue.add_table(&head, Some(Arc::new(table)));
    }
    catalogue
}

const ROWS: &str = "prefix,destination,price,per,setup\n1,US,0.02,1 min,\n";

fn at(instant: &str) -> Timestamp {
    Timestamp(instant.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

#[test]
fn of_two_versions_with_one_start_the_one_published_later_is_in_force_in_whatever_order() {
    let rates = |version: u32, starts: &str| {
        format!("# turnpike-table id=t kind=dial-plan version={version} starts={starts}\n{ROWS}")
    };
    let published = [rates(3, "2024-03-01"), rates(1, "2024-01-01"), rates(2, "2024-01-01")];
    let catalogue = catalogue_of(&[], published);
    let zone = Zone::utc();
    let in_force = |instant| {
        let found = catalogue.table("t", &zone, at(instant));
        found.content.map(|table| table.version())
    };
    assert_eq!(in_force("2023-12-31T23:59:59Z"), None);
    assert_eq!(in_force("2024-02-01T00:00:00Z"), Some(2));
    assert_eq!(in_force("2024-03-01T00:00:00Z"), Some(3));
}
