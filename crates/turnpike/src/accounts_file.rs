//! A file of accounts, as `account import` and `rate` read it.

use turnpike_types::Timestamp;

use crate::{ui, values};

/// Prints that the plans of rows without `plan_from` begin now. `accounts` is the number of these
/// rows.
pub(crate) fn warn_of_begin(accounts: u64, now: Timestamp) {
    let rows = match accounts {
        0 => return,
        1 => "1 row has a plan and no plan_from".to_owned(),
        more => format!("{} rows have a plan and no plan_from", ui::count(more)),
    };
    ui::print_stderr(format_args!(
        "{rows}: these subscriptions begin now, {}; usage before that is suspended as no-plan. For \
         usage of the past fill in plan_from (docs/formats.md)",
        values::show_instant(now.0)
    ));
}
