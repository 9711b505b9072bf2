//! Reference tables that no account uses.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use attacks::memory::{mib, peak};
use attacks::site::{Effect, PROCESSES, Site};

/// Publishes tables of `rows` rows.
async fn publish(site: &Site, count: usize, rows: usize) -> Result<()> {
    for table in 0..count {
        let mut text = format!(
            "# turnpike-table id=unused-{table} kind=dial-plan version=1 starts=2026-01-01\n\
             prefix,destination,price,per,setup\n"
        );
        for row in 0..rows {
            writeln!(text, "{},a,0.{:03},1 min,", 1_000_000 + row, row % 997)?;
        }
        let file = site.cluster.file(&format!("table-{table}.csv"), &text)?;
        site.cluster.run(&["table", "publish", &file])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_no_account_uses_takes_no_memory_of_nodes() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (tables, rows) = (site.form.pick(2, 4), site.form.pick(200_000, 1_000_000));
    publish(&site, tables, rows).await?;
    let attack = async {
        // The nodes have read the new catalogue by the end of the pause.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        Ok(Effect::of(format!("{tables} tables of {rows} rows")))
    };
    site.withstands("W2 unused tables", attack).await?;
    for node in PROCESSES.iter().filter(|name| **name != "front") {
        let used = mib(peak(site.cluster.pid(node)?)?);
        ensure!(used < 128, "{node} uses {used} MiB, although no account uses a table");
    }
    site.finish().await
}
