//! Alerts, dashboard and scrape configuration refer only to existing metrics, labels, and sections
//! of the operations manual.

use std::collections::BTreeSet;

use yaml_rust2::{Yaml, YamlLoader};

use super::super::metric_list::{METRICS, MetricKind};
use super::{metric, text};

/// The name of a series' metric: a histogram has three series, with different suffixes.
fn base(series: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| series.strip_suffix(part));
    let is_histogram =
        |name: &&str| metric(name).is_some_and(|m| matches!(m.kind, MetricKind::Histogram(_)));
    parts.clone().find(is_histogram).unwrap_or(series)
}

/// Crates that appear in log filters.
const CRATES: &[&str] = &["node", "front", "store", "feed"];

/// Checks every metric in `text`, and the labels in braces after it.
pub(super) fn check_names(place: &str, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find("turnpike_") {
        let before = rest[..start].chars().next_back();
        rest = &rest[start..];
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        // Log filters contain crate names with the same prefix.
        let is_crate = CRATES.contains(&&name["turnpike_".len()..]);
        if is_crate || before.is_some_and(is_name) {
            continue;
        }
        let known = metric(base(name)).unwrap_or_else(|| panic!("{place} names {name}"));
        let Some(braced) = after.strip_prefix('{') else { continue };
        let labels = braced.split('}').next().unwrap_or_default().split(',');
        for label in labels.map(|label| label.split(['=', '!']).next().unwrap_or_default().trim()) {
            let is_known =
                known.labels.contains(&label) || ["instance", "job", "le"].contains(&label);
            assert!(is_known, "{place}: {name} has no label {label:?}");
        }
    }
}

fn yaml(path: &str) -> Yaml {
    YamlLoader::load_from_str(&text(path)).unwrap().remove(0)
}

fn rules() -> Vec<Yaml> {
    let alerts = yaml("cluster/prometheus/alerts.yml");
    let groups = alerts["groups"].as_vec().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_vec().unwrap().clone()).collect()
}

/// The anchors of a page's headings of one level; `marks` is `##` for level 2.
fn anchors(page: &str, marks: &str) -> Vec<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix(marks)?.strip_prefix(' '));
    let letters = |heading: &str| {
        let kept =
            heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(letters).collect()
}

#[test]
fn every_alert_names_metrics_that_exist_and_says_how_bad_it_is() {
    let rules = rules();
    assert!(rules.len() > 10);
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        check_names(name, rule["expr"].as_str().unwrap());
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        assert!(rule["annotations"]["summary"].as_str().is_some(), "{name}");
    }
}

#[test]
fn every_alert_has_a_section_of_the_handbook_and_every_section_an_alert() {
    let page = text("docs/operating.md");
    let alerts = page.split("\n## Alerts\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let sections: BTreeSet<String> = anchors(alerts, "###").into_iter().collect();
    let pointed: BTreeSet<String> = rules()
        .iter()
        .map(|rule| {
            let runbook = rule["annotations"]["runbook"].as_str().unwrap();
            let anchor = runbook.strip_prefix("docs/operating.md#").unwrap();
            assert_eq!(anchor, rule["alert"].as_str().unwrap().to_lowercase());
            anchor.to_owned()
        })
        .collect();
    assert_eq!(sections, pointed);
}

#[test]
fn prometheus_has_scrape_targets_and_alert_rules() {
    let file = yaml("cluster/prometheus/prometheus.yml");
    assert_eq!(file["rule_files"][0].as_str(), Some("alerts.yml"));
    let jobs = file["scrape_configs"].as_vec().unwrap();
    let named: Vec<&str> = jobs.iter().map(|job| job["job_name"].as_str().unwrap()).collect();
    assert_eq!(named, ["turnpike-node", "turnpike-front"]);
    for job in jobs {
        assert!(!job["static_configs"][0]["targets"].as_vec().unwrap().is_empty());
    }
}

/// Every text under one of `keys`, at any depth.
fn texts<'a>(value: &'a serde_json::Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts(value, keys, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|v| texts(v, keys, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let board: serde_json::Value =
        serde_json::from_str(&text("cluster/grafana/turnpike.json")).unwrap();
    let mut queries = Vec::new();
    texts(&board, &["expr", "query", "definition"], &mut queries);
    assert!(queries.len() > 20);
    queries.iter().for_each(|query| check_names("turnpike.json", query));
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panel ids are unique");
    // The dashboard must show every metric except those left out on purpose.
    let all = queries.join("\n");
    let unseen = METRICS.iter().filter(|metric| !all.contains(metric.name)).map(|m| m.name);
    let unseen: Vec<&str> = unseen.filter(|name| !UNSHOWN.contains(name)).collect();
    assert!(unseen.is_empty(), "neither shown nor left out on purpose: {unseen:?}");
}

/// Metrics without a panel, for queries during an investigation.
const UNSHOWN: &[&str] = &[
    "turnpike_connections",
    "turnpike_connections_refused_total",
    "turnpike_connections_closed_total",
    "turnpike_requests_refused_total",
    "turnpike_memory_bytes",
    "turnpike_memory_bytes_max",
    "turnpike_access_refused_total",
    // Each has an alert.
    "turnpike_certificate_expires_seconds",
    "turnpike_certificate_reload_refused",
    "turnpike_insecure_plaintext",
    "turnpike_refusals_total",
    "turnpike_front_account_commands_total",
    "turnpike_front_audit_overtaken_total",
    "turnpike_front_audit_outcomes_missing_total",
    "turnpike_front_quota_used",
    "turnpike_front_quota_max",
    "turnpike_queue_bytes_max",
    "turnpike_queue_requests",
    "turnpike_postings_diverged_total",
    "turnpike_relays_total",
    "turnpike_partitions_owned",
    "turnpike_partitions_followed",
    "turnpike_partition_segments",
    "turnpike_catalogue_version",
    "turnpike_dedup_keys_max",
    "turnpike_suspense_records_max",
    "turnpike_front_admitted_bytes_max",
    "turnpike_front_guide_cache_hits_total",
    "turnpike_front_guide_cache_misses_total",
    "turnpike_front_request_retries_total",
    "turnpike_front_reassigned_total",
    "turnpike_front_route_failures_total",
    "turnpike_front_mark_age_seconds",
    "turnpike_front_mark_failures_total",
    "turnpike_feed_pages_total",
    "turnpike_feed_cache_hits_total",
    "turnpike_feed_cache_misses_total",
];
