//! What the audit has of an operator's act: what is wanted, before it is done, and what came of it.

use super::{ActError, Acted, Admin, Bulk, JobAct, Jobs, Operation, Summary};
use crate::domain::JobName;
use crate::store::{
    By, Store, StoreError,
    audit::{Deed, Ending, Entry, NAMES_MAX, Outcome},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is done to users by a command that may write their file: the owner of the spool only records it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Administration {
    act: UserAct,
    count: usize,
    /// The first of them.
    users: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    with: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserAct {
    Add,
    ApiKey,
    Grant,
    Passwd,
    Revoke,
    Rm,
    Token,
}

impl Administration {
    /// To these users, with what else is asked for.
    pub fn new(act: UserAct, users: &[String], with: Option<String>) -> Self {
        Self {
            act,
            count: users.len(),
            users: users.iter().take(NAMES_MAX).cloned().collect(),
            with,
        }
    }

    /// As the audit has it; the act is called as its command is.
    pub fn deed(&self, by: &By) -> Deed {
        let act = match self.act {
            UserAct::Add => "user add",
            UserAct::ApiKey => "user api-key",
            UserAct::Grant => "user grant",
            UserAct::Passwd => "user passwd",
            UserAct::Revoke => "user revoke",
            UserAct::Rm => "user rm",
            UserAct::Token => "user token",
        };
        let deed = Deed::new(act, by).users(self.count, &self.users);
        deed.with(self.with.as_deref())
    }
}

/// An act that is recorded, durably, and may be done now. Dropped without its end, the audit does not say
/// what came of it.
#[must_use]
pub struct Begun {
    store: Arc<dyn Store>,
    /// The number of its record.
    number: u64,
}

impl Admin {
    /// Records an act that is to be done.
    ///
    /// # Errors
    /// When it cannot be recorded: it is not to be done then.
    pub async fn begin(&self, deed: &Deed) -> Result<Begun, ActError> {
        let entry = Entry::Begun(Box::new(deed.clone()));
        Ok(Begun {
            number: self.store.audit(&entry).await?,
            store: self.store.clone(),
        })
    }
}

impl Begun {
    /// Records what came of it, in the words that the one who acts gets, and to how many jobs it was done if it
    /// was about many. What was done is done: an end that cannot be recorded is for the log.
    pub async fn end(self, outcome: Outcome, done: Option<u64>, said: &str) {
        let ending = Ending {
            done,
            ..Ending::new(self.number, outcome, said)
        };
        if let Err(error) = self.store.audit(&Entry::Ended(ending)).await {
            tracing::error!(record = self.number, %error, "the audit lacks the end of an act");
        }
    }

    /// The same of an act on one thing.
    pub async fn end_as(self, acted: &Result<Acted, ActError>) {
        match acted {
            Ok(acted) => self.end(Outcome::Done, None, &acted.to_string()).await,
            Err(error) => self.end(outcome(error), None, &error.to_string()).await,
        }
    }
}

/// Has something happened all the same?
fn outcome(error: &ActError) -> Outcome {
    match error {
        ActError::Store(StoreError::Unavailable(_) | StoreError::Unhealthy(_)) => Outcome::Failed,
        ActError::Configuration(_)
        | ActError::CutOff(_)
        | ActError::Ended(_)
        | ActError::Ending(_)
        | ActError::Past(_)
        | ActError::GoneInterface { .. }
        | ActError::Moved(_)
        | ActError::NoJob(_)
        | ActError::NoService
        | ActError::NoSchedule(_)
        | ActError::NotEnded { .. }
        | ActError::NoUser(_)
        | ActError::NotAddressed(_)
        | ActError::Reason
        | ActError::Running { .. }
        | ActError::StillWrong { .. }
        | ActError::Store(
            StoreError::Conflict(_)
            | StoreError::Full(_)
            | StoreError::NotFound(_)
            | StoreError::Refused(_),
        )
        | ActError::Unaddressed { .. }
        | ActError::Unclaimed { .. }
        | ActError::UnknownInterface { .. }
        | ActError::Unverified { .. } => Outcome::Refused,
    }
}

/// What an operation is, for the audit; the act is called as its command is.
pub(super) fn deed(operation: &Operation, by: &By) -> Deed {
    let new = |act: &str| Deed::new(act, by);
    match operation {
        Operation::Forget { submitter } => new("forget").users(1, std::slice::from_ref(submitter)),
        Operation::Hold {
            interface,
            reason,
            until,
        } => {
            let why = (!reason.is_empty()).then(|| reason.clone());
            let by = By { why, ..by.clone() };
            Deed {
                interface: Some(interface.to_string()),
                with: until.map(|until| format!("--until {until}")),
                ..Deed::new("hold", &by)
            }
        }
        Operation::Redeliver { events, receiver } => {
            let to = receiver.iter().map(|to| format!("--to {to}"));
            let events = events.iter().map(ToString::to_string);
            let all = events.take(NAMES_MAX).chain(to).collect::<Vec<String>>();
            new("events redeliver").with((!all.is_empty()).then(|| all.join(" ")).as_deref())
        }
        Operation::Release { interface } => Deed {
            interface: Some(interface.to_string()),
            ..new("release")
        },
        Operation::Reload => new("reload"),
        Operation::RemoveSchedule { schedule } => Deed {
            schedule: Some(schedule.to_string()),
            ..new("schedule rm")
        },
        Operation::ResetSchedule { schedule } => Deed {
            schedule: Some(schedule.to_string()),
            ..new("schedule reset")
        },
    }
}

/// The same of an act on these jobs.
pub(super) fn deed_of_bulk<'j>(
    bulk: &Bulk,
    names: impl ExactSizeIterator<Item = &'j JobName>,
    by: &By,
) -> Deed {
    let (act, options) = match &bulk.act {
        JobAct::Cancel => ("cancel", Vec::new()),
        JobAct::Remove => ("rm", Vec::new()),
        JobAct::Requeue { to, unchecked } => {
            let to = to.iter().map(|to| format!("--to {to}"));
            let unchecked = unchecked.then(|| "--unchecked".to_owned());
            ("requeue", to.chain(unchecked).collect())
        }
    };
    let options = Some(options.join(" ")).filter(|text| !text.is_empty());
    let deed = Deed::new(act, by).jobs(names.len(), names);
    Deed {
        filter: match &bulk.jobs {
            Jobs::Named(_) => None,
            Jobs::Selected(selection) => Some(selection.to_string()),
        },
        ..deed.with(options.as_deref())
    }
}

/// How an act on jobs has ended.
pub(super) fn outcome_of_bulk(summary: &Summary) -> Outcome {
    match (summary.done, summary.failed + summary.left) {
        (_, 0) => Outcome::Done,
        (0, _) => Outcome::Refused,
        (_, _) => Outcome::Partly,
    }
}
