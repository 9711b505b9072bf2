//! Spelling suggestions: the known name nearest to an unknown one.

/// Longer words are not compared: they are not misspelt names, and the comparison would be slow.
const WORD_BYTES_MAX: usize = 64;

/// The nearest known word within an edit distance of one, or of one per three letters. Case is
/// ignored.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > WORD_BYTES_MAX || word.is_empty() {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let word = plain(word);
    let changes_max = (word.chars().count() / 3).max(1);
    let near = known.into_iter().filter(|known| known.len() <= WORD_BYTES_MAX);
    let near = near.map(|known| (strsim::osa_distance(&word, &plain(known)), known));
    // A word of one letter is within one edit of every other such word.
    let near = near.filter(|(changes, known)| {
        *changes <= changes_max && *changes < known.chars().count().max(2) && *changes < word.len()
    });
    near.min_by_key(|(changes, _)| *changes).map(|(_, known)| known)
}

/// ` (did you mean X?)` with the known name nearest to an unknown one; empty when none is near.
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_no_distant_one() {
        let known = ["StepRater", "PercentileRater", "E164DialPlanRater", "Ignore"];
        assert_eq!(nearest("StepRatter", known), Some("StepRater"));
        assert_eq!(nearest("steprater", known), Some("StepRater"));
        assert_eq!(nearest("Step_Rater", known), Some("StepRater"));
        assert_eq!(nearest("Ingore", known), Some("Ignore"));
        assert_eq!(nearest("Magic", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", ["in", "y"]), None);
        assert_eq!(nearest("hr", ["h", "min", "s"]), Some("h"));
        assert_eq!(nearest(&"Ignore".repeat(50), known), None);
        assert_eq!(hint("pas", ["pass", "rest"]), " (did you mean pass?)");
        assert_eq!(hint("colour", ["pass", "rest"]), "");
    }
}
