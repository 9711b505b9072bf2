//! Places within places: `US/CA/Los Angeles` lies in `US/CA`, and that in `US`.

/// Is this how a place is written?
pub(super) fn check(text: &str) -> Result<Box<str>, String> {
    if text.split('/').any(|part| part.is_empty() || part.trim() != part) {
        return Err(format!(
            "\"{text}\" is no place: write names from the outermost in, with / between, such as US/CA/Los Angeles"
        ));
    }
    Ok(text.into())
}

/// A place with all that it lies in, outermost first. Nothing for the empty text.
pub(super) fn lineage(place: &str) -> impl Iterator<Item = &str> {
    let ends = place.match_indices('/').map(|(at, _)| at);
    let own = (!place.is_empty()).then_some(place.len());
    ends.chain(own).filter_map(move |end| place.get(..end)).filter(|name| !name.is_empty())
}
