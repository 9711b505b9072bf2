//! Samples in pages are valid: plans compile, and tables and files can be read.

use std::collections::BTreeMap;

use turnpike_collect::{AccountsCsv, UsageCsv, UsageJsonl};
use yaml_rust2::YamlLoader;

use super::markdown::{Block, files, pages};

/// The languages that fenced blocks may have. A block of another language would not be checked.
const LANGUAGES: [&str; 12] = [
    "",       // figures; not checked
    "text",   // output of commands; guide.rs compares it in the pages that it runs
    "rust",   // excerpts of code; not checked
    "promql", // src/telemetry/tests.rs checks the names of metrics
    "sh",     // src/pages.rs parses each command
    "toml",   // src/pages.rs reads each as a configuration file
    "ini",    // unit files of systemd: read as sections and keys
    "xml", "csv", "yaml", "json", "jsonl",
];

#[test]
fn every_block_is_of_a_language_that_is_checked() {
    for page in pages() {
        for Block { language, line, .. } in page.blocks() {
            assert!(LANGUAGES.contains(&language), "{}:{line}: {language:?}", page.path);
        }
    }
}

/// The fault of a sample; `None` if it is valid.
fn fault(language: &str, text: &str) -> Option<String> {
    match language {
        "xml" => plan(text),
        "csv" => csv(text),
        "yaml" => YamlLoader::load_from_str(text).err().map(|error| error.to_string()),
        "ini" => unit_file(text),
        "jsonl" => {
            let rows = UsageJsonl::new("sample", text.as_bytes());
            rows.filter_map(Result::err).map(|fault| fault.to_string()).next()
        }
        "json" => serde_json::from_str::<serde_json::Value>(text).err().map(|e| e.to_string()),
        _ => None,
    }
}

fn unit_file(text: &str) -> Option<String> {
    let is_known = |line: &str| {
        line.is_empty()
            || line.starts_with('#')
            || (line.starts_with('[') && line.ends_with(']'))
            || line.split_once('=').is_some_and(|(key, _)| !key.is_empty())
    };
    text.lines().find(|line| !is_known(line)).map(|line| format!("no section and no key: {line}"))
}

fn plan(text: &str) -> Option<String> {
    if !text.contains("<plan ") {
        return Some("no whole plan: nothing can check it".to_owned());
    }
    let plan = match turnpike_plan::parse(text) {
        Ok(plan) => plan,
        Err(errors) => return Some(errors.to_string()),
    };
    turnpike_plan::compile(&plan, &BTreeMap::new()).err().map(|errors| errors.to_string())
}

fn csv(text: &str) -> Option<String> {
    if text.starts_with("# turnpike-table") {
        return turnpike_plan::parse_table(text).err().map(|errors| errors.to_string());
    }
    let header = text.lines().next().unwrap_or_default();
    let columns: Vec<&str> = header.split(',').collect();
    let faults: Vec<String> = if columns.contains(&"record_id") && columns.contains(&"usage_type") {
        let rows = UsageCsv::new("sample", text.as_bytes());
        rows.map_or_else(
            |e| vec![e.to_string()],
            |rows| rows.filter_map(Result::err).map(|e| e.to_string()).collect(),
        )
    } else if columns.contains(&"account_number") && columns.contains(&"zone") {
        let rows = AccountsCsv::new("sample", text.as_bytes());
        rows.map_or_else(
            |e| vec![e.to_string()],
            |rows| rows.filter_map(Result::err).map(|e| e.to_string()).collect(),
        )
    } else {
        vec![format!("is this usage, accounts or a table? its header is {header:?}")]
    };
    (!faults.is_empty()).then(|| faults.join("; "))
}

#[test]
fn every_sample_of_a_page_is_read_without_a_fault() {
    let (mut tried, mut faults) = (0, Vec::new());
    for page in pages() {
        for block in page.blocks() {
            tried += 1;
            let found = fault(block.language, &block.text);
            faults.extend(found.map(|why| format!("{}:{}: {why}", page.path, block.line)));
        }
    }
    assert!(tried > 80, "{tried}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_example_file_is_read_without_a_fault() {
    let mut tried = 0;
    for example in files(&["xml", "csv"]).iter().filter(|file| file.path.starts_with("examples/")) {
        tried += 1;
        let language = example.path.rsplit('.').next().unwrap_or_default();
        let found = fault(language, &example.text);
        assert!(found.is_none(), "{}: {}", example.path, found.unwrap_or_default());
    }
    assert!(tried >= 3, "{tried}");
}
