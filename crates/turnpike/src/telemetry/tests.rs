//! The metrics in the code, in the list, and in the documentation are the same.
#![allow(clippy::unwrap_used)]

mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::metric_list::{METRICS, Metric, MetricKind};

/// Reads a file of the repository.
fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Every metric in the code: its macro, and the union of its labels in all places.
fn measured() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in fs::read_dir(crates).unwrap() {
        scan(&entry.unwrap().path().join("src"), &mut found);
    }
    found
}

fn scan(place: &PathBuf, found: &mut BTreeMap<String, (String, BTreeSet<String>)>) {
    if place.is_dir() {
        for entry in fs::read_dir(place).unwrap() {
            scan(&entry.unwrap().path(), found);
        }
    } else if place.extension().is_some_and(|kind| kind == "rs") {
        let code = fs::read_to_string(place).unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            // The text is joined from two parts, so that the scan does not find this line.
            let call = format!("metrics::{kind}{}", "!(");
            for rest in code.split(&call).skip(1) {
                let strings: Vec<&str> = arguments(rest).split('"').collect();
                if strings[0].trim() == "metric.name" {
                    continue;
                }
                assert_eq!(strings[0].trim(), "", "{}: no literal name", place.display());
                let (_, labels) = found
                    .entry(strings[1].to_owned())
                    .or_insert((kind.to_owned(), BTreeSet::new()));
                for pair in strings[1..].windows(2).filter(|p| p[1].trim().starts_with("=>")) {
                    labels.insert(pair[0].to_owned());
                }
            }
        }
    }
}

/// The text before the closing parenthesis of the call.
fn arguments(rest: &str) -> &str {
    let mut open = 1;
    let end = rest.find(|letter| {
        open += i32::from(letter == '(') - i32::from(letter == ')');
        open == 0
    });
    &rest[..end.unwrap()]
}

fn word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram(_) => "histogram",
    }
}

/// The row of a metric in the page.
fn row(metric: &Metric) -> String {
    let labels = match metric.labels {
        [] => String::new(),
        labels => format!("{{{}}}", labels.join(",")),
    };
    format!("| `{}{labels}` | {} | {} |", metric.name, word(metric.kind), metric.help)
}

#[test]
fn every_metric_of_the_code_is_described_with_its_kind_and_labels_and_the_reverse() {
    let measured = measured();
    assert!(measured.len() > 40, "{measured:?}");
    for (name, (kind, labels)) in &measured {
        let metric = metric(name).unwrap_or_else(|| panic!("{name} is not described"));
        assert_eq!(word(metric.kind), kind, "{name}");
        let described: BTreeSet<String> = metric.labels.iter().map(|&l| l.to_owned()).collect();
        assert_eq!(&described, labels, "{name}");
    }
    for metric in METRICS {
        assert!(measured.contains_key(metric.name), "{} is nowhere in the code", metric.name);
    }
}

#[test]
fn names_follow_the_convention_of_prometheus() {
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("turnpike_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
        let base = name.trim_end_matches("_total").trim_end_matches("_max");
        assert_eq!(base.ends_with("_seconds"), metric.unit == metrics::Unit::Seconds, "{name}");
        assert_eq!(base.ends_with("_bytes"), metric.unit == metrics::Unit::Bytes, "{name}");
        if let MetricKind::Histogram(buckets) = metric.kind {
            assert!(buckets.is_sorted() && buckets.len() < 16, "{name}");
        }
    }
}

#[test]
fn the_page_lists_every_metric_as_it_is_described_and_no_other() {
    let page = text("docs/metrics.md");
    let rows: Vec<String> = METRICS.iter().map(row).collect();
    let missing: Vec<&String> =
        rows.iter().filter(|row| !page.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:#?}");
    for line in page.lines().filter(|line| line.starts_with("| `turnpike_")) {
        assert!(rows.iter().any(|row| row == line), "docs/metrics.md has {line}");
    }
}

#[test]
fn pages_name_only_metrics_that_exist() {
    for page in ["docs/operating.md", "docs/metrics.md", "docs/benchmarks.md", "cluster/README.md"]
    {
        watching::check_names(page, &text(page));
    }
}

#[test]
fn every_scraped_metric_has_help_and_buckets() {
    let recorder = super::exporter().unwrap().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        super::describe();
        metrics::histogram!("turnpike_append_seconds").record(0.003);
        metrics::counter!("turnpike_heartbeats_total", "result" => "written").increment(2);
    });
    let scraped = handle.render();
    for line in [
        "# TYPE turnpike_append_seconds histogram",
        "# HELP turnpike_append_seconds One segment from sealing to the durable commit",
        "turnpike_append_seconds_bucket{le=\"0.0025\"} 0",
        "turnpike_append_seconds_bucket{le=\"0.005\"} 1",
        "turnpike_heartbeats_total{result=\"written\"} 2",
    ] {
        assert!(scraped.lines().any(|scraped| scraped == line), "{line} is not in\n{scraped}");
    }
}
