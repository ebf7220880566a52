//! The test sets of the W3C XML Schema suite, for the groups of which XSD 1.1 says something that
//! XSD 1.0 does not.
//!
//! What a test is for, and which verdict is expected, is said by words of versions and features:
//! one that is known is enough for a set, group or test to be asked, and a verdict holds where all
//! are known (`common/xsts.xsd` of the suite).

use std::path::Path;

use super::{Case, Edition, Group, Verdict, expected};
use crate::xml::intake::{Element, walk};
use crate::xml::{Source, XmlLimits, location};

const NAMESPACE: &str = "http://www.w3.org/XML/2004/xml-schema-test-suite/";

/// The words for an engine of XSD 1.0, and for one of XSD 1.1, whose alternatives may use all of
/// XPath.
const KNOWN: [&[&str]; 2] = [
    &["1.0", "Unicode_6.0.0", "XML-1.0"],
    &["1.1", "Unicode_6.0.0", "XML-1.0", "full-xpath-in-CTA"],
];

/// For each of [`KNOWN`].
type ByEdition<T> = [T; 2];

/// A schema or a document.
struct Test {
    asked: ByEdition<bool>,
    expected: ByEdition<Option<Verdict>>,
    /// From the directory of the suite.
    files: Vec<String>,
    is_schema: bool,
}

struct TestGroup {
    asked: ByEdition<bool>,
    /// The contributor, the set and the group.
    id: String,
    tests: Vec<Test>,
}

/// One set as far as it is read.
struct TestSet<'f> {
    asked: ByEdition<bool>,
    file: &'f str,
    groups: Vec<TestGroup>,
}

/// The groups of all sets that ask for XSD 1.1.
pub(super) fn groups_of_1_1(dir: &Path) -> Vec<Group> {
    let mut files = Vec::new();
    see(dir, "suite.xml", &mut |element| {
        if element.name == "testSetRef" {
            files.extend(link_of(element));
        }
    });
    // What has nothing to say of XSD 1.1 is not in the archive.
    files.retain(|file| dir.join(file).is_file());
    let groups = files.iter().flat_map(|file| read(dir, file));
    groups
        .filter(TestGroup::asks_for_1_1)
        .filter_map(TestGroup::by_1_1)
        .collect()
}

fn read(dir: &Path, file: &str) -> Vec<TestGroup> {
    let mut set = TestSet {
        asked: [false; 2],
        file,
        groups: Vec::new(),
    };
    see(dir, file, &mut |element| set.see(element));
    set.groups
}

/// Shows all elements of the suite's own in a file.
fn see(dir: &Path, file: &str, of: &mut dyn FnMut(&Element<'_>)) {
    let path = dir.join(file);
    let seen = walk(
        &Source::File(&path),
        &XmlLimits::default(),
        &mut |element| {
            if element.namespace == Some(NAMESPACE) {
                of(element);
            }
            Ok(())
        },
    );
    seen.map_or_else(|error| panic!("{file}: {error}"), |_| ());
}

impl TestSet<'_> {
    fn see(&mut self, element: &Element<'_>) {
        match element.name {
            "testSet" => self.asked = asked([true; 2], element),
            "testGroup" => self.groups.push(TestGroup {
                asked: asked(self.asked, element),
                id: id_of(self.file, &element.attribute("name").unwrap_or_default()),
                tests: Vec::new(),
            }),
            _ => {
                if let Some(group) = self.groups.last_mut() {
                    group.see(element, self.file);
                }
            }
        }
    }
}

impl TestGroup {
    fn see(&mut self, element: &Element<'_>, file: &str) {
        match (element.name, self.tests.last_mut()) {
            ("schemaTest" | "instanceTest", _) => self.tests.push(Test {
                asked: asked(self.asked, element),
                expected: [None; 2],
                files: Vec::new(),
                is_schema: element.name == "schemaTest",
            }),
            ("schemaDocument" | "instanceDocument", Some(test)) => {
                let link = link_of(element);
                let directory = location::directory_of(file);
                test.files
                    .extend(link.and_then(|link| location::join(directory, &link)));
            }
            ("expected", Some(test)) => test.expect(element),
            _ => {}
        }
    }

    fn asks_for_1_1(&self) -> bool {
        self.tests
            .iter()
            .any(|test| test.expected[0] != test.expected[1])
    }

    /// The group for an engine that reads the schema by XSD 1.1, if there is a verdict on that.
    fn by_1_1(self) -> Option<Group> {
        let name = format!("1.1 {}", self.id);
        let (schemas, documents): (Vec<_>, Vec<_>) =
            self.tests.into_iter().partition(|test| test.is_schema);
        let schema = schemas.into_iter().find(|test| test.asked[1])?;
        let file = match &schema.files[..] {
            [file] => file.clone(),
            // Several files have one that includes or imports them.
            _ => format!("drv/{}.xsd", self.id.replace('/', "_")),
        };
        let case = |expected, file: String, name| Case {
            expected,
            file,
            name,
        };
        let documents = documents.into_iter().filter_map(|test| {
            let file = test.files.into_iter().next()?;
            let name = format!("{name} {file}");
            Some(case(test.expected[1]?, file, name))
        });
        Some(Group {
            documents: documents.collect(),
            edition: Some(Edition::V1_1),
            schema: Some(case(schema.expected[1]?, file, name.clone())),
        })
    }
}

impl Test {
    fn expect(&mut self, element: &Element<'_>) {
        let words = words(element);
        let validity = element.attribute("validity").unwrap_or_default();
        for (n, known) in KNOWN.iter().enumerate() {
            if self.asked[n] && words.iter().all(|word| known.contains(&&word[..])) {
                self.expected[n] = expected(&validity);
            }
        }
    }
}

/// Is it asked, what `within` is asked?
fn asked(within: ByEdition<bool>, element: &Element<'_>) -> ByEdition<bool> {
    let words = words(element);
    let knows = |known: &[&str]| words.iter().any(|word| known.contains(&&word[..]));
    std::array::from_fn(|n| within[n] && (words.is_empty() || knows(KNOWN[n])))
}

fn words(element: &Element<'_>) -> Vec<String> {
    let version = element.attribute("version").unwrap_or_default();
    version.split_whitespace().map(str::to_owned).collect()
}

fn link_of(element: &Element<'_>) -> Option<String> {
    let mut attributes = element.attributes.iter();
    let link =
        attributes.find(|attribute| attribute.namespace.is_some() && attribute.name == "href");
    link.map(crate::xml::intake::Attribute::value)
}

/// As the index names those of XSD 1.0.
fn id_of(file: &str, group: &str) -> String {
    let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
    format!("{}/{group}", name.replacen("Meta/", "/", 1))
}
