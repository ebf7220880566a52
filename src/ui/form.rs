//! What a form, or the query of an address, says. Pure.

use std::str::FromStr;

/// Names and values in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Of a body, or of what stands behind the question mark.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// One more.
    pub(super) fn add(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The first value of that name that is not empty, without blanks around it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        named.find_map(|(_, value)| Some(value.trim()).filter(|value| !value.is_empty()))
    }

    /// The first value of that name, as it was sent.
    pub(super) fn exact(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// All values of that name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.trim())
    }

    /// The same, as what it stands for; one that stands for nothing is as if it were missing.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}

/// An address with a query, of those values that are there.
pub(super) fn address<'v>(
    path: &str,
    values: impl IntoIterator<Item = (&'v str, Option<&'v str>)>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in values {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_and_written() {
        let form = Form::parse(b"a=+x+y&a=2&empty=&n=7&odd=%3Cb%3E");
        assert_eq!(form.get("a"), Some("x y"));
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["x y", "2"]);
        assert_eq!((form.get("empty"), form.get("none")), (None, None));
        assert_eq!(form.parsed::<u32>("n"), Some(7));
        assert_eq!(form.parsed::<u32>("odd"), None);
        let to = address("/ui/jobs", [("q", Some("a&b=<")), ("place", None)]);
        assert_eq!(to, "/ui/jobs?q=a%26b%3D%3C");
        assert_eq!(address("/ui/jobs", []), "/ui/jobs");
    }
}
