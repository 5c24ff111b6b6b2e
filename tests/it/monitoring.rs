//! What is documented of the metrics, and what the dashboard shows, is what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rolefs::metrics::Metrics;

fn file(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring");
    fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let described = Metrics::default().described().into_iter();
    let rows = described.map(|at| format!("| `{}` | {} | {} |", at.name, at.kind, at.help));
    let table = rows.collect::<Vec<_>>().join("\n");
    let text = file("metrics.md");
    let (_, documented) = text.split_once("|---|---|---|\n").unwrap();
    assert_eq!(
        documented.trim_end(),
        table,
        "put this into scripts/monitoring/metrics.md:\n{table}"
    );
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_word(letter));
    words.filter(|word| word.starts_with("rolefs_")).collect()
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let text = file("grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let known = Metrics::default().values();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have one id");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let names = named(expression);
            assert!(!names.is_empty(), "{expression} shows nothing of a mount");
            for name in names {
                assert!(
                    known.contains_key(name),
                    "{name} is no metric: {expression}"
                );
                let is_counter = name.ends_with("_total");
                let is_rate = expression.contains(&format!("rate({name}{{"));
                assert_eq!(
                    is_counter, is_rate,
                    "{expression}: rates are of counters, and of them only"
                );
            }
        }
    }
    for name in named(&text) {
        assert!(known.contains_key(name), "{name} is no metric");
    }
}

#[test]
fn readme_names_metrics_that_exist() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let known = Metrics::default().values();
    for name in named(&text) {
        assert!(known.contains_key(name), "{name} is no metric");
    }
}
