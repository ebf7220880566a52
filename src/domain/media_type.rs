//! What files are called by what they are.

/// What a stylesheet makes of a job is called so, by its media type; what is XML keeps the name of its job.
pub const EXTENSIONS: [(&str, &str); 4] = [
    ("application/json", "json"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/plain", "txt"),
];

/// How a file of that media type is called, if not as its job.
pub fn extension_of(media_type: &str) -> Option<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let found = EXTENSIONS
        .iter()
        .find(|(of, _)| essence.eq_ignore_ascii_case(of));
    found.map(|(_, extension)| *extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stylesheet_made_is_called_by_what_it_is() {
        for (content_type, expected) in [
            ("text/csv; charset=UTF-8", Some("csv")),
            ("text/html;charset=UTF-8", Some("html")),
            ("Application/JSON", Some("json")),
            ("application/xml; charset=UTF-8", None),
            ("odd", None),
        ] {
            assert_eq!(extension_of(content_type), expected);
        }
    }
}
