//! Writes XML as OSS does: no namespace, no indentation.

use std::fmt::Write as _;

/// A document in the making.
#[derive(Debug)]
pub(super) struct Xml(String);

impl Xml {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    pub(super) fn open(&mut self, element: &str) {
        self.0.extend(["<", element, ">"]);
    }

    pub(super) fn close(&mut self, element: &str) {
        self.0.extend(["</", element, ">"]);
    }

    /// An element with text, escaped.
    pub(super) fn text(&mut self, element: &str, text: &str) {
        self.open(element);
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // XML 1.0 has no way to carry most of these; readers that matter take the reference.
                control if control < ' ' => {
                    let _ = write!(self.0, "&#x{:X};", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.close(element);
    }

    /// An element with a number or another plain word.
    pub(super) fn value(&mut self, element: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "<{element}>{value}</{element}>");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
