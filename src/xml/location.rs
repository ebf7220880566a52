//! Locations that schemas write, and the paths inside the schemas' directory that they lead to.
//!
//! Pure functions over text: a path here is relative to the directory, with `/` between its steps
//! and without `.` and `..`, and can lead nowhere outside.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but the unreserved characters (RFC 3986, 2.3) and what separates the steps of a path.
const NOT_IN_PATHS: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'/')
    .remove(b'_')
    .remove(b'~');

/// The path to which `location` leads from `directory`; `None`: outside, or nowhere at all.
pub(super) fn join(directory: &str, location: &str) -> Option<String> {
    if location.starts_with('/') || location.contains('\0') {
        return None;
    }
    let mut path: Vec<&str> = directory
        .split('/')
        .filter(|step| !step.is_empty())
        .collect();
    for step in location.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop()?;
            }
            name => path.push(name),
        }
    }
    (!path.is_empty()).then(|| path.join("/"))
}

/// The directory in which a file lies.
pub(super) fn directory_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The scheme of a location that is a URI (RFC 3986, 3.1), as it is written.
pub(super) fn scheme(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let mut letters = scheme.chars();
    let is_scheme = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some(scheme)
}

/// A URL by which it is compared: without fragment, scheme and host in lower case, and `https`
/// counts as `http`, since the same schema is named by both.
pub(super) fn comparable(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let scheme = match scheme.to_ascii_lowercase() {
        https if https == "https" => "http".to_owned(),
        other => other,
    };
    match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", host.to_ascii_lowercase())
        }
        None => format!("{scheme}:{rest}"),
    }
}

/// Where the mirror of a URL of HTTP lies: `<host>/<path>`.
pub(super) fn mirror(url: &str) -> Option<String> {
    let url = comparable(url);
    join("", &decoded(url.strip_prefix("http://")?)?)
}

/// The text with its percent-encoding decoded, once (RFC 3986, 2.1). A `%` without two digits
/// stands for itself.
pub(super) fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

/// The path as a relative reference that means the same to everyone who reads URIs.
pub(super) fn encoded(path: &str) -> String {
    utf8_percent_encode(path, &NOT_IN_PATHS).to_string()
}

/// How the file at `from` refers to the one at `to`.
pub(super) fn reference(from: &str, to: &str) -> String {
    let up = "../".repeat(from.matches('/').count());
    format!("{up}{}", encoded(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_the_directory() {
        for (directory, location, path) in [
            ("", "b.xsd", "b.xsd"),
            ("", "./sub//b.xsd", "sub/b.xsd"),
            ("sub/deep", "../b.xsd", "sub/b.xsd"),
            ("sub", "../b c+'%.xsd", "b c+'%.xsd"),
        ] {
            assert_eq!(join(directory, location).as_deref(), Some(path));
        }
        for outside in ["", ".", "/etc/passwd", "../b", "sub/../../b", "..", "a\0"] {
            assert_eq!(join("", outside), None, "{outside}");
        }
        assert_eq!(join("a", "../../a"), None);
    }

    #[test]
    fn a_location_is_decoded_once() {
        assert_eq!(decoded("a%20b+'%C3%A4%2").as_deref(), Some("a b+'ä%2"));
        assert_eq!(decoded("%2520").as_deref(), Some("%20"));
        assert_eq!(decoded("%ff"), None);
        assert_eq!(encoded("x/a b+'ä%.xsd"), "x/a%20b%2B%27%C3%A4%25.xsd");
        assert_eq!(reference("a/b/c.xsd", "d e.xsd"), "../../d%20e.xsd");
    }

    #[test]
    fn the_mirror_of_a_url_has_its_host_and_path() {
        for (url, path) in [
            (
                "http://H.example/a/b%20c.xsd#x",
                Some("h.example/a/b c.xsd"),
            ),
            (
                "HTTPS://h.example:8443/a/../b.xsd",
                Some("h.example:8443/b.xsd"),
            ),
            ("http://h/../../etc/passwd", None),
            ("http://../etc/passwd", None),
            ("http://h/%2e%2e/%2e%2e/etc/passwd", None),
            ("urn:a:b", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(mirror(url).as_deref(), path, "{url}");
        }
        assert_eq!(scheme("urn:a"), Some("urn"));
        assert_eq!(scheme("a/b:c"), None);
        assert_eq!(scheme("b.xsd"), None);
    }
}
