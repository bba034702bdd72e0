//! What the bench prints: lines for people, or one JSON value per line for programs.

use serde_json::{Value, json};

use super::Section;

/// Prints rows.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// JSON lines instead of text.
    pub json: bool,
}

impl Printer {
    /// Begins a section: what is measured and how, so that nobody is misled by its figures.
    pub fn section(self, section: Section, notes: &[&str]) {
        if self.json {
            println!("{}", json!({"section": section.word(), "notes": notes}));
            return;
        }
        println!("\n== {}", section.word());
        notes.iter().for_each(|note| println!("   {note}"));
    }

    /// One row.
    pub fn row(self, section: Section, text: &str, values: Value) {
        if self.json {
            println!("{}", json!({"section": section.word(), "row": values}));
        } else {
            println!("{text}");
        }
    }

    /// A row, or a whole section, that cannot be measured here.
    pub fn absent(self, section: Section, what: &str, because: &str) {
        self.row(section, &format!("{what}: absent: {because}"), json!({"absent": what, "because": because}));
    }
}

/// How many times as large, for people.
#[must_use]
pub fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 { format!("{:.2}x", ours / theirs) } else { "-".to_owned() }
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    crate::stats::Samples::new(values.to_vec()).percentile(50)
}
