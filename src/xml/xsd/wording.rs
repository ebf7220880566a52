//! The engine's errors in the words of the other findings: what is wrong with which element or
//! attribute, what is expected in its place, and the clause of XML Schema.

use xsd_schema::validation::{ValidationError, ValidationSubject};

/// Longest piece of a value that is shown.
const VALUE_CHARS_MAX: usize = 60;

/// Is the error about a value that its type does not take?
pub(super) fn is_about_value(error: &ValidationError) -> bool {
    error.constraint == "cvc-simple-type" || error.constraint.ends_with("-valid")
}

/// What is wrong with the value of an attribute, or of the element at hand.
pub(super) fn of_value(
    constraint: &str,
    attribute: Option<&str>,
    value: &str,
    expected: Option<&str>,
) -> String {
    let of = attribute.map(|name| format!(" of the attribute \"{name}\""));
    let expected = expected.map(|words| format!("; expected is {words}"));
    format!(
        "the value \"{}\"{} is not allowed{} [{constraint}]",
        cut(value),
        of.unwrap_or_default(),
        expected.unwrap_or_default(),
    )
}

/// What else is wrong. `child`: the element that is about to open; `next` says what may come in its
/// place, or in that of the attribute, or before the element at hand ends.
pub(super) fn of(
    error: &ValidationError,
    child: Option<&str>,
    next: impl FnOnce() -> Option<String>,
) -> String {
    let name = match error.subject() {
        Some(subject) => subject.name().local_name(),
        None => "",
    };
    let quoted = quoted(&error.message);
    let expected = || next().map_or(String::new(), |words| format!("; expected is {words}"));
    let text = match (error.constraint, &quoted[..]) {
        ("cvc-attribute.4", [attribute, fixed, value]) => {
            let expected = format!("\"{}\"", cut(fixed));
            return of_value(error.constraint, Some(attribute), value, Some(&expected));
        }
        ("cvc-elt.5.2.2" | "cvc-elt.5.2.2.2", [_, fixed, value]) => {
            let expected = format!("\"{}\"", cut(fixed));
            return of_value(error.constraint, None, value, Some(&expected));
        }
        ("cvc-complex-type.2.1", _) => {
            format!("text is not allowed in the element \"{name}\"; expected is nothing")
        }
        ("cvc-complex-type.2.3", _) => {
            format!(
                "text is not allowed in the element \"{name}\"{}",
                expected()
            )
        }
        ("cvc-complex-type.2.4", _) => match child {
            Some(child) => format!("the element \"{child}\" is not allowed here{}", expected()),
            None => format!("the element \"{name}\" ends too early{}", expected()),
        },
        ("cvc-complex-type.3.2.1" | "cvc-complex-type.3.2.2", [attribute, ..]) => {
            let expected = expected();
            format!("the attribute \"{attribute}\" is not allowed here{expected}")
        }
        ("cvc-complex-type.4", [attribute, ..]) => {
            format!("the attribute \"{attribute}\" is missing")
        }
        ("cvc-elt.1", [element, ..]) => {
            format!("the element \"{element}\" is not declared{}", expected())
        }
        ("cvc-id.1", [id, ..]) => format!("there is no ID \"{id}\" for an IDREF"),
        ("cvc-id.2", [id, ..]) => format!("the ID \"{id}\" appears twice"),
        ("cvc-identity-constraint.4.2.2", [key, ..]) => {
            format!("the value for \"{key}\" is there already")
        }
        ("cvc-identity-constraint.4.3", [from, to, ..]) => {
            format!("the value for \"{from}\" is none of \"{to}\"")
        }
        (_, _) => with_subject(error, &restyled(&error.message)),
    };
    format!("{text} [{}]", error.constraint)
}

/// A message often leaves out which attribute it is about.
fn with_subject(error: &ValidationError, message: &str) -> String {
    match error.subject() {
        Some(ValidationSubject::Attribute(name)) if !message.contains(name.local_name()) => {
            format!("the attribute \"{}\": {message}", name.local_name())
        }
        Some(_) | None => message.to_owned(),
    }
}

/// What the engine has put between single quotes.
fn quoted(message: &str) -> Vec<&str> {
    message.split('\'').skip(1).step_by(2).collect()
}

/// The message in lower case, its names in the quotes of ours.
fn restyled(message: &str) -> String {
    let mut text = match message.split_once(' ') {
        Some((kind @ ("Attribute" | "Element" | "Type"), rest)) => {
            format!("the {} {rest}", kind.to_ascii_lowercase())
        }
        Some(_) | None => {
            let mut chars = message.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(chars).collect()
        }
    };
    if text.matches('\'').count() % 2 == 0 {
        text = text.replace('\'', "\"");
    }
    text
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
