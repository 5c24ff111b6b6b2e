//! Figures and bars.

use std::fmt::Write as _;

/// Letters of the longest bar.
const BAR: f64 = 32.0;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    BytesPerSecond,
    PerSecond,
    /// Less is better.
    Seconds,
}

/// One measurement by two sides; `None` is no result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) direct: Option<f64>,
    pub(super) mount: Option<f64>,
}

/// The measurements as text, the mount's with its share of the direct way.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let less = match row.unit {
            Unit::Seconds => " (less is better)",
            Unit::BytesPerSecond | Unit::PerSecond => "",
        };
        let _ = writeln!(text, "\n{}{less}", row.what);
        let most = row.direct.unwrap_or(0.0).max(row.mount.unwrap_or(0.0));
        for (side, value) in [("direct", row.direct), ("mount", row.mount)] {
            let share = match (side, row.direct, value) {
                ("mount", Some(direct), Some(mount)) if direct > 0.0 => {
                    format!("  {:.0} %", 100.0 * mount / direct)
                }
                _ => String::new(),
            };
            let line = format!(
                "  {side:<7} {:>11}  {}{share}",
                shown(value, row.unit),
                bar(value, most)
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

fn shown(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else {
        return "no result".to_owned();
    };
    match unit {
        Unit::BytesPerSecond if value >= 1e9 => format!("{:.2} GB/s", value / 1e9),
        Unit::BytesPerSecond => format!("{:.1} MB/s", value / 1e6),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Seconds => format!("{:.2} ms", value * 1e3),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a bar is between 0 and its length"
)]
fn bar(value: Option<f64>, most: f64) -> String {
    let share = value.map_or(0.0, |value| value / most).clamp(0.0, 1.0);
    "█".repeat((share * BAR).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_figures_bars_and_a_share() {
        let rows = [
            Row {
                what: "large files".to_owned(),
                unit: Unit::BytesPerSecond,
                direct: Some(2e9),
                mount: Some(1e9),
            },
            Row {
                what: "4 KiB".to_owned(),
                unit: Unit::Seconds,
                direct: Some(0.02),
                mount: None,
            },
        ];
        let (full, half) = ("█".repeat(32), "█".repeat(16));
        let expected = format!(
            "
large files
  direct    2.00 GB/s  {full}
  mount     1.00 GB/s  {half}  50 %

4 KiB (less is better)
  direct     20.00 ms  {full}
  mount     no result
"
        );
        assert_eq!(table(&rows), expected);
    }
}
