//! Nested places: `US/CA/Los Angeles` is in `US/CA`, which is in `US`.

/// Checks the syntax of a place.
pub(super) fn check(text: &str) -> Result<Box<str>, String> {
    if text.split('/').any(|part| part.is_empty() || part.trim() != part) {
        return Err(format!(
            "\"{text}\" is not a place: write names from the outermost inwards, separated by /, such as US/CA/Los Angeles"
        ));
    }
    Ok(text.into())
}

/// A place and all places that contain it, outermost first; empty for the empty text.
pub(super) fn lineage(place: &str) -> impl Iterator<Item = &str> {
    let ends = place.match_indices('/').map(|(at, _)| at);
    let own = (!place.is_empty()).then_some(place.len());
    ends.chain(own).filter_map(move |end| place.get(..end)).filter(|name| !name.is_empty())
}
