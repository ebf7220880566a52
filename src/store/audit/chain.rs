//! Whether the records of an audit fit together, line by line. Pure.

use super::{AuditHead, AuditRecord, Entry, NOTHING_BEFORE, Removed};

/// Why a line does not fit to those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("it is cut off: it has no end")]
    CutOff,
    #[error("it is no record")]
    NoRecord,
    #[error(
        "it has number {found} where {expected} is to come: records are missing, were added or stand in another order"
    )]
    Number { expected: u64, found: u64 },
    #[error("it does not have the hash of the record before: that one was changed, or this one")]
    Hash,
    #[error(
        "it is the first one, and has number {0}: the records before are missing, and none says that retention removed them"
    )]
    Beginning(u64),
    #[error(
        "no record has a hash that begins with {0}: it was changed, or removed by retention, since that hash was noted"
    )]
    NoAnchor(String),
}

/// A chain whose records all fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many were looked at.
    pub records: u64,
    /// `None`: there is none.
    pub newest: Option<AuditHead>,
}

/// The chain as far as it has been read.
#[derive(Debug, Default)]
pub struct Chain {
    /// Records before the one with this hash, or a hash that begins so, are not looked at.
    from: Option<String>,
    is_anchored: bool,
    newest: Option<AuditHead>,
    /// What is missing before the first record, until one says that it was removed.
    missing: Option<(u64, String)>,
    n_records: u64,
}

impl Chain {
    /// All records are to fit; with a hash, those after the record that has it, which has to be there.
    pub fn new(from: Option<String>) -> Self {
        Self {
            is_anchored: from.is_none(),
            from,
            ..Self::default()
        }
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// When it does not fit. Nothing is to be said of those after it.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Misfit> {
        let record = AuditRecord::from_line(line);
        if self.is_anchored {
            self.fits(record.as_ref().ok_or(Misfit::NoRecord)?)?;
        } else if let Some(record) = &record
            && self.newest.is_none()
            && self.is_anchor(&record.before)
        {
            // What has that hash may have been removed; this is what comes after it.
            self.is_anchored = true;
        }
        let before = self.newest.as_ref().map_or(0, |newest| newest.number);
        let number = record.as_ref().map_or(before + 1, |record| record.number);
        let head = AuditHead::of(number, line, record.map(|record| record.at));
        if !self.is_anchored && self.is_anchor(&head.sha256) {
            self.is_anchored = true;
        }
        self.n_records += u64::from(self.is_anchored);
        self.newest = Some(head);
        Ok(())
    }

    fn is_anchor(&self, sha256: &str) -> bool {
        let from = self.from.as_ref();
        from.is_some_and(|from| sha256.starts_with(from.as_str()))
    }

    fn fits(&mut self, record: &AuditRecord) -> Result<(), Misfit> {
        match &self.newest {
            None if record.number == 1 && record.before == NOTHING_BEFORE => {}
            None if record.number <= 1 => return Err(Misfit::Hash),
            None => self.missing = Some((record.number - 1, record.before.clone())),
            Some(newest) if record.number != newest.number + 1 => {
                return Err(Misfit::Number {
                    expected: newest.number + 1,
                    found: record.number,
                });
            }
            Some(newest) if record.before != newest.sha256 => return Err(Misfit::Hash),
            Some(_) => {}
        }
        if let Entry::Begun(deed) = &record.entry
            && let Some(Removed {
                through, sha256, ..
            }) = &deed.removed
            && (self.missing.as_ref()).is_some_and(|(n, hash)| n == through && hash == sha256)
        {
            self.missing = None;
        }
        Ok(())
    }

    /// There are no more lines.
    ///
    /// # Errors
    /// [`Misfit::Beginning`], of the first record, and [`Misfit::NoAnchor`], of none.
    pub fn end(self) -> Result<Verified, Misfit> {
        if let Some(from) = self.from.filter(|_| !self.is_anchored) {
            return Err(Misfit::NoAnchor(from));
        }
        match self.missing {
            Some((number, _)) => Err(Misfit::Beginning(number + 1)),
            None => Ok(Verified {
                records: self.n_records,
                newest: self.newest,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Deed, *};
    use crate::store::By;

    fn deed(act: &str) -> Entry {
        Entry::Begun(Deed::new(act, &By::operator("olga")).into())
    }

    fn lines(n: usize) -> Vec<String> {
        let mut head = AuditHead::nothing();
        let mut all = Vec::new();
        for at in 0..n {
            let (next, line) = head.next(&deed("hold"), at as i64);
            head = next;
            all.push(line);
        }
        all
    }

    /// Which line does not fit, counted from 0, and why; or the outcome of the end.
    fn verify(lines: &[String], from: Option<&str>) -> Result<Verified, (usize, Misfit)> {
        let mut chain = Chain::new(from.map(str::to_owned));
        for (at, line) in lines.iter().enumerate() {
            chain.line(line.as_bytes()).map_err(|misfit| (at, misfit))?;
        }
        chain.end().map_err(|misfit| (0, misfit))
    }

    fn hash_of(lines: &[String]) -> String {
        AuditHead::of_lines(lines.iter().map(String::as_bytes))
            .unwrap()
            .sha256
    }

    #[test]
    fn a_chain_that_nobody_touched_fits() {
        assert_eq!(verify(&[], None).unwrap().newest, None);
        let all = lines(5);
        let verified = verify(&all, None).unwrap();
        assert_eq!((verified.records, verified.newest.unwrap().number), (5, 5));
    }

    #[test]
    fn whatever_is_done_to_it_is_found_where_it_was_done() {
        let all = lines(6);
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut changed = all.clone();
            change(&mut changed);
            verify(&changed, None).unwrap_err()
        };
        // Edited: the next one does not fit.
        assert_eq!(
            with(&|l| l[2] = l[2].replace("olga", "otto")),
            (3, Misfit::Hash)
        );
        let number = |expected, found| Misfit::Number { expected, found };
        assert_eq!(with(&|l| drop(l.remove(2))), (2, number(3, 4)));
        assert_eq!(with(&|l| l.swap(2, 3)), (2, number(3, 4)));
        assert_eq!(with(&|l| l.insert(2, l[1].clone())), (2, number(3, 2)));
        assert_eq!(with(&|l| l[4].truncate(9)), (4, Misfit::NoRecord));
        assert_eq!(with(&|l| drop(l.drain(..2))), (0, Misfit::Beginning(3)));
        // One that was written anew, with the right number and hash, and not those after it.
        let forged = |l: &mut Vec<String>| {
            let before = AuditHead::of_lines(l[..2].iter().map(String::as_bytes));
            l[2] = before.unwrap().next(&deed("release"), 7).1;
        };
        assert_eq!(with(&forged), (3, Misfit::Hash));
    }

    #[test]
    fn a_hash_that_was_kept_elsewhere_finds_a_cut_and_a_new_history() {
        let all = lines(6);
        let newest = hash_of(&all);
        assert_eq!(verify(&all, Some(&newest)).unwrap().records, 1);
        assert_eq!(verify(&all, Some(&hash_of(&all[..2]))).unwrap().records, 5);
        let short = &newest[..13];
        assert!(verify(&all, Some(short)).is_ok());
        let gone = |lines: &[String]| verify(lines, Some(&newest)).unwrap_err().1;
        assert_eq!(gone(&all[..5]), Misfit::NoAnchor(newest.clone()));
        let mut head = AuditHead::nothing();
        let anew = (0..6).map(|at| {
            let (next, line) = head.next(&deed("release"), at);
            head = next;
            line
        });
        let anew: Vec<String> = anew.collect();
        assert!(verify(&anew, None).is_ok());
        assert_eq!(gone(&anew), Misfit::NoAnchor(newest.clone()));
        // What comes before is not looked at.
        let mut damaged = all.clone();
        damaged[0] = "{}".into();
        assert!(verify(&damaged, Some(&newest)).is_ok());
    }

    #[test]
    fn what_retention_removed_is_not_missed_if_a_record_says_so() {
        let mut all = lines(4);
        let removed = Removed {
            day: "2026-11-22".into(),
            through: 2,
            sha256: hash_of(&all[..2]),
        };
        let mut swept = Deed::new("retention", &By::service(""));
        swept.removed = Some(removed);
        let head = AuditHead::of_lines(all.iter().map(String::as_bytes)).unwrap();
        all.push(head.next(&Entry::Begun(swept.into()), 9).1);
        assert!(verify(&all, None).is_ok(), "it is not gone yet");
        assert_eq!(verify(&all[2..], None).unwrap().records, 3);
        assert_eq!(
            verify(&all[1..], None).unwrap_err(),
            (0, Misfit::Beginning(2))
        );
        assert_eq!(
            verify(&all[3..], None).unwrap_err(),
            (0, Misfit::Beginning(4))
        );
    }

    #[test]
    fn lines_are_these_and_read_back() {
        let by = By {
            login: Some("olga (uid 1000)".into()),
            ..By::operator("root (uid 0)")
        };
        let mut deed = Deed::new("hold", &by);
        deed.interface = Some("a".into());
        assert!(deed.is_by("root") && deed.is_by("olga") && deed.is_by("olga (uid 1000)"));
        assert!(!deed.is_by("ol") && !deed.is_by(""));
        let begun = Entry::Begun(deed.into());
        let (head, line) = AuditHead::nothing().next(&begun, 1_795_323_468_123);
        let zeros = NOTHING_BEFORE;
        assert_eq!(
            line,
            format!(
                r#"{{"number":1,"before":"{zeros}","at":"2026-11-22T04:57:48.123Z","act":"hold","by":"root (uid 0)","login":"olga (uid 1000)","from":"command","interface":"a"}}"#
            )
        );
        let ended = Entry::Ended(super::super::Ending::new(
            1,
            super::super::Outcome::Done,
            "held",
        ));
        let (_, line) = head.next(&ended, 1_795_323_469_000);
        let rest = r#""at":"2026-11-22T04:57:49Z","of":1,"outcome":"done","said":"held"}"#;
        assert!(line.ends_with(rest), "{line}");
        let read = AuditRecord::from_line(line.as_bytes()).unwrap();
        assert_eq!(
            (read.number, &read.before, &read.entry),
            (2, &head.sha256, &ended)
        );
        assert_eq!(read.to_line(), line);
        assert_eq!(format!("{:013x}", head.fingerprint()), head.sha256[..13]);
    }
}
