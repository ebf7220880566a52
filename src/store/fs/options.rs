//! How often a job is tried, as its submitter asked for it and the record says it, which takes the place of
//! the interface's attempts. Only JSON dialects ask for anything, so for an XML job nothing is read. And what a
//! document that was dropped or emitted says that its job keeps its order by.

use super::{Fs, Spool, SpoolError, wrap};
use crate::domain::{InterfaceName, Job, Kind, OrderBy};
use std::{borrow::Cow, path::Path};

/// The tag of a document's root element is looked for in so much of it, and then in so much.
const HEADS_BYTES: [usize; 2] = [64 * 1024, 1 << 20];

impl<F: Fs> Spool<F> {
    /// How often the job is to be tried again, if it says so itself.
    pub fn retries_of(&self, job: &Job) -> Option<u32> {
        match job.name.kind() {
            Kind::Json => self.known_of(job)?.retries,
            Kind::Xml => None,
        }
    }

    /// How many attempts a job has in all that is to be tried again so often, if it says so itself: that goes before the
    /// rules of its interface.
    pub(super) fn attempts_with(&self, retries: Option<u32>, of: Option<&InterfaceName>) -> u32 {
        match retries {
            Some(retries) => retries.saturating_add(1),
            None => {
                let interfaces = self.interfaces.load();
                let rules = of.and_then(|interface| interfaces.get(interface));
                rules.map_or(1, |rules| rules.attempts_max)
            }
        }
    }

    /// What a document, which is to be a job of that interface, says that the job keeps its order by. Nothing, if the
    /// start tag of its root element is not there or ends too late.
    ///
    /// # Errors
    /// When the document cannot be read.
    pub(super) fn order_key_in(
        &self,
        path: &Path,
        kind: Kind,
        interface: &InterfaceName,
    ) -> Result<Option<String>, SpoolError> {
        let head = |n_bytes| {
            let file = self.fs.update(path).map_err(wrap("open", path))?;
            let head = self.fs.read_at(&file, 0, n_bytes);
            Ok(Cow::Owned(head.map_err(wrap("read", path))?))
        };
        self.order_by(kind, interface, head)
    }

    /// The same of one that is in memory.
    pub fn order_key_of(
        &self,
        document: &[u8],
        kind: Kind,
        interface: &InterfaceName,
    ) -> Option<String> {
        let head = |n_bytes| Ok(Cow::Borrowed(&document[..document.len().min(n_bytes)]));
        self.order_by(kind, interface, head).ok().flatten()
    }

    /// By the beginnings of a document.
    fn order_by<'d>(
        &self,
        kind: Kind,
        interface: &InterfaceName,
        mut head: impl FnMut(usize) -> Result<Cow<'d, [u8]>, SpoolError>,
    ) -> Result<Option<String>, SpoolError> {
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(interface);
        let attribute = rules.and_then(|rules| rules.order_attribute.as_deref());
        let (Some(attribute), Some(read), Kind::Xml) = (attribute, self.read_attribute, kind)
        else {
            return Ok(None);
        };
        for n_bytes in HEADS_BYTES {
            let head = head(n_bytes)?;
            let value = read(&head, attribute);
            if value.is_some() || head.len() < n_bytes {
                return Ok(value.and_then(|value| OrderBy::kept(attribute, &value)));
            }
        }
        Ok(None)
    }

    /// How many attempts the job has in all: its own retries go before the rules of its interface.
    pub fn attempts_max(&self, job: &Job) -> u32 {
        self.attempts_with(self.retries_of(job), job.place.interface())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::testing::TestSpool;
    use std::sync::Arc;

    #[test]
    fn a_key_is_looked_for_in_the_beginning_of_a_document() {
        let dir = tempfile::tempdir().unwrap();
        let spool = TestSpool::at(dir.path())
            .interface_with("a", |rules| rules.order_attribute = Some("k".into()))
            .interface("b");
        let spool = Arc::into_inner(spool.open().unwrap()).unwrap();
        let spool = spool.with_attributes(|document, name| {
            let text = String::from_utf8_lossy(document);
            let (_, value) = text.split_once(&format!("{name}='"))?;
            Some(value.split_once('\'')?.0.to_owned())
        });
        let path = Path::new("tmp/document");
        let key = |before: usize, kind, interface: &str| {
            let document = format!("{}<a k='1'/>{}", " ".repeat(before), " ".repeat(1 << 21));
            std::fs::write(dir.path().join(path), document).unwrap();
            spool
                .order_key_in(path, kind, &interface.parse().unwrap())
                .unwrap()
        };
        for before in [0, HEADS_BYTES[0] - 6, HEADS_BYTES[1] - 100] {
            assert_eq!(
                key(before, Kind::Xml, "a").as_deref(),
                Some("@k=1"),
                "{before}"
            );
        }
        assert_eq!(
            key(HEADS_BYTES[1] - 6, Kind::Xml, "a"),
            None,
            "it is too late"
        );
        assert_eq!(key(0, Kind::Json, "a"), None);
        assert_eq!(key(0, Kind::Xml, "b"), None, "nobody asks");
        assert!(
            spool
                .order_key_in(Path::new("tmp/x"), Kind::Xml, &"a".parse().unwrap())
                .is_err()
        );
    }
}
