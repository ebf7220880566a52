//! Looking whether all that is kept fits together, behind the seam.

use super::Inner;
use crate::store::{
    Result,
    audit::Misfit,
    check::{CheckProgress, Checked, Flaw, FlawKind},
    fs::{AuditFiles, BadRecord, SpoolError, SpoolLock, audit, check::Suspect, wrap},
};
use std::{collections::HashSet, io, path::Path, sync::Arc, time::Duration};

/// What does not fit is looked at so often again, each time after so long.
const LOOKS_MORE: usize = 2;
const PAUSE: Duration = Duration::from_millis(500);

/// What a look has found.
#[derive(Default)]
struct Looked {
    jobs: u64,
    /// The jobs that the next start puts right; none beside a service.
    to_replay: HashSet<u64>,
    suspects: Vec<Suspect>,
    audit: Option<Flaw>,
}

impl Inner {
    pub(super) async fn check(self: &Arc<Self>, progress: Arc<CheckProgress>) -> Result<Checked> {
        let mut looked = self
            .blocking(move |inner| inner.look_at_all(&progress))
            .await?;
        for _ in 0..LOOKS_MORE {
            if looked.suspects.is_empty() && looked.audit.is_none() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            looked = self.blocking(|inner| inner.look_again(looked)).await?;
        }
        let flaws = looked.suspects.into_iter().map(|suspect| suspect.flaw);
        Ok(Checked {
            jobs: looked.jobs,
            flaws: flaws.chain(looked.audit).collect(),
        })
    }

    fn look_at_all(&self, progress: &CheckProgress) -> Result<Looked, SpoolError> {
        let spool = &self.spool;
        let lock = Path::new(".lock");
        let holder = SpoolLock::holder(spool.fs()).map_err(wrap("look at", lock))?;
        let is_at_work = spool.journal.get().is_some() || holder.is_some();
        let to_replay = match is_at_work {
            true => HashSet::new(),
            false => spool.jobs_to_replay()?,
        };
        let (jobs, suspects) = spool.check(&to_replay, progress)?;
        Ok(Looked {
            jobs,
            to_replay,
            suspects,
            audit: self.audit_flaw(is_at_work)?,
        })
    }

    fn look_again(&self, looked: Looked) -> Result<Looked, SpoolError> {
        let suspects = match &looked.suspects[..] {
            [] => Vec::new(),
            suspects => (self.spool).suspects_still(&looked.to_replay, suspects)?,
        };
        let audit = match looked.audit {
            Some(_) => self.audit_flaw(true)?,
            None => None,
        };
        Ok(Looked {
            suspects,
            audit,
            ..looked
        })
    }

    /// Where the audit is no chain. What is torn at its end is no flaw while nothing is at work: the next start cuts
    /// that off.
    fn audit_flaw(&self, is_at_work: bool) -> Result<Option<Flaw>, SpoolError> {
        let name = Path::new(audit::DIR);
        let files = match AuditFiles::of(&self.spool.fs().absolute(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(wrap("list", name))?,
        };
        let verified = files.verify(None).map_err(wrap("read", name))?;
        let Err(BadRecord { path, line, misfit }) = verified else {
            return Ok(None);
        };
        if misfit == Misfit::CutOff && !is_at_work && files.is_newest(&path) {
            return Ok(None);
        }
        let file = path.file_name().unwrap_or_default();
        Ok(Some(Flaw {
            kind: FlawKind::Audit,
            job: None,
            at: vec![format!("{}:{line}", name.join(file).display())],
            why: misfit.to_string(),
        }))
    }
}
