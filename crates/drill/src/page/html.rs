//! Text in HTML.

/// Why the page can be written without an error.
pub(super) const IN_MEMORY: &str = "text is written to a String";

/// Escapes text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
