//! The HTML page of the reports: one self-contained file with a legend.

mod chart;
mod html;

use std::fmt::Write as _;

use crate::report::{Report, Verdict, show_ms};
use chart::{Chart, Window};
use html::{IN_MEMORY, escaped};
use turnpike_types::Must as _;

const STYLE: &str = include_str!("style.css");

/// Renders the reports as a page.
pub fn page(reports: &[Report], seed: u64) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n");
    writeln!(out, "<title>Turnpike drills</title>\n<style>{STYLE}</style>").must(IN_MEMORY);
    writeln!(out, "<header><h1>Turnpike drills</h1><p>{}</p></header>", summary(reports, seed))
        .must(IN_MEMORY);
    out.push_str(&overview(reports));
    reports.iter().for_each(|report| section(&mut out, report));
    out.push_str(LEGEND);
    out.push_str("</html>\n");
    out
}

fn summary(reports: &[Report], seed: u64) -> String {
    let count = |verdict| reports.iter().filter(|report| report.verdict == verdict).count();
    let verdicts = [Verdict::Violated, Verdict::TargetMissed, Verdict::Passed, Verdict::LeftOut];
    let told = verdicts.into_iter().filter(|&verdict| count(verdict) > 0);
    let told: Vec<String> = told
        .map(|verdict| format!("{} {}", count(verdict), verdict.word().to_lowercase()))
        .collect();
    let records: u64 = reports.iter().map(|report| report.records.sent).sum();
    let [lost, doubled] = [|r: &Report| r.records.lost, |r: &Report| r.records.doubled]
        .map(|of| reports.iter().map(of).sum::<u64>());
    format!(
        "{}. {records} records sent, {lost} lost, {doubled} doubled. Seed {seed}.",
        told.join(", ")
    )
}

fn overview(reports: &[Report]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><tr><th>scenario<th>result<th>faults");
    out.push_str(
        "<th>pause p50<th>p99<th>max<th>target<th>sent<th>rated<th>lost<th>doubled</tr>\n",
    );
    for report in reports {
        let name = report.scenario;
        write!(out, "<tr><td><a href=\"#{name}\">{name}</a><td>{}", chip(report.verdict))
            .must(IN_MEMORY);
        if !report.verdict.has_figures() {
            writeln!(out, "<td colspan=\"9\">{}</tr>", escaped(&report.why.join("; ")))
                .must(IN_MEMORY);
            continue;
        }
        let (pauses, records) = (&report.pauses, &report.records);
        let [p50, p99, max] = [pauses.p50_ms, pauses.p99_ms, pauses.max_ms].map(show_ms);
        let target = |target: &crate::report::TargetReport| {
            let limit = show_ms(target.limit_ms);
            let class = if target.met { "met" } else { "over" };
            format!("<span class=\"{class}\">{} ≤ {limit}</span>", target.of)
        };
        let targets: Vec<String> = report.targets.iter().map(target).collect();
        let crate::Counts { sent, rated, lost, doubled, .. } = *records;
        writeln!(
            out,
            "<td>{}<td>{p50}<td>{p99}<td>{max}<td>{}<td>{sent}<td>{rated}<td>{lost}<td>{doubled}</tr>",
            report.effective_faults(),
            targets.join(", "),
        ).must(IN_MEMORY);
    }
    out + "</table></div>\n"
}

fn chip(verdict: Verdict) -> String {
    let class = match verdict {
        Verdict::Passed => "passed",
        Verdict::TargetMissed | Verdict::NotJudged => "missed",
        Verdict::Violated => "violated",
        Verdict::LeftOut => "left-out",
    };
    format!("<span class=\"chip {class}\">{}</span>", verdict.word().to_lowercase())
}

fn section(out: &mut String, report: &Report) {
    let Report { scenario, help, holds, proves, .. } = report;
    let (help, holds) = (escaped(help), escaped(holds));
    let verdict = chip(report.verdict);
    writeln!(out, "<section id=\"{scenario}\"><h2>{scenario} {verdict}</h2>").must(IN_MEMORY);
    writeln!(out, "<p>The drill {help}. Must hold: {holds}. <small>({proves})</small></p>")
        .must(IN_MEMORY);
    if !report.why.is_empty() {
        let why: Vec<String> =
            report.why.iter().map(|why| format!("<li>{}", escaped(why))).collect();
        writeln!(out, "<ul class=\"why\">{}</ul>", why.join("\n")).must(IN_MEMORY);
    }
    if report.verdict.has_figures() {
        let Report { waits, records, .. } = report;
        writeln!(
            out,
            "<p>{} records accepted in {:.0} s, {} refused; a batch waited {} (p50), {} (p99); \
             clients sent {} batches again and saw {} streams break; partitions changed hands {} \
             times.</p>",
            records.accepted,
            report.seconds,
            report.refused,
            show_ms(waits.p50_ms),
            show_ms(waits.p99_ms),
            report.retries,
            report.broken_streams,
            report.takeovers,
        )
        .must(IN_MEMORY);
        charts(out, report);
    }
    out.push_str("</section>\n");
}

fn charts(out: &mut String, report: &Report) {
    let chart = Chart::new(&report.timeline);
    let whole = Window { from: report.timeline.from, until: report.timeline.until };
    writeln!(out, "<figure><figcaption>The whole run</figcaption>{}</figure>", chart.draw(whole))
        .must(IN_MEMORY);
    let Some((fault, pause)) = report.timeline.worst() else { return };
    let begin = fault.at.saturating_sub(300_000);
    let end = fault.until.max(fault.at + pause) + (pause / 2).clamp(300_000, 3_000_000);
    let window = Window { from: begin, until: end.min(whole.until) };
    writeln!(
        out,
        "<figure><figcaption>The longest pause, {}, closer: {}</figcaption>{}</figure>",
        show_ms(crate::clock::millis(pause)),
        escaped(&fault.what),
        chart.draw(window)
    )
    .must(IN_MEMORY);
}

const LEGEND: &str = "<footer><p>Each chart, from the top: the faults, as bars across the chart \
(point at one for its name); answers to clients in each slice of time; the longest wait among \
these, counted from the due time (the scale is logarithmic); and the owner of each partition, with \
one band per partition, one colour per node, and the epoch as a number. A pause is a gap in \
the answers; after it, the batches that fell due meanwhile are answered at once.</p></footer>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_given_by_users_is_escaped_on_the_page() {
        assert_eq!(escaped("a -/- <b> & \"c\""), "a -/- &lt;b&gt; &amp; &quot;c&quot;");
    }

    #[test]
    fn the_page_needs_no_external_resource() {
        let page = page(&[], 1);
        assert!(page.contains("prefers-color-scheme"));
        for outside in ["http", "src=", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
