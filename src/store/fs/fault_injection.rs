//! Deliberate mistakes, so that the tests which must notice them can be seen to do so.
//!
//! A product that is built without the feature `fault-injection` has none: there
//! [`FaultInjection::chosen`] is always [`FaultInjection::None`], and nothing reads the environment.
//! With the feature, the variable `SPOOLGATE_FAULT_INJECTION` names the mistake.

use super::MountId;
use crate::domain::Transition;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultInjection {
    /// No mistake.
    #[default]
    None,
    /// Files are trusted after a crash when the boot is the same, though the filesystem was mounted
    /// anew.
    BootIdAlone,
    /// A claim is neither recorded nor waited for: attempts are not counted across a power cut.
    NoAttempts,
    /// A checkpoint voids the records without syncing what they say.
    NoCheckpointSync,
    /// Records are acknowledged without being flushed.
    NoFlush,
    /// The records of an earlier run are not read.
    NoReplay,
    /// What became of a job is not recorded.
    NoSettle,
    /// The checkpointer panics.
    #[cfg(test)]
    PanicsInCheckpoint,
    /// The committer panics.
    #[cfg(test)]
    PanicsInFlush,
    /// Nothing is ever synced: what syncing costs is measured against it.
    NoSync,
}

impl FaultInjection {
    /// The mistake that the environment asks for.
    #[cfg(feature = "fault-injection")]
    pub fn chosen() -> Self {
        let name = std::env::var("SPOOLGATE_FAULT_INJECTION").unwrap_or_default();
        match name.as_str() {
            "" => Self::None,
            "boot-id-alone" => Self::BootIdAlone,
            "no-attempts" => Self::NoAttempts,
            "no-checkpoint-sync" => Self::NoCheckpointSync,
            "no-flush" => Self::NoFlush,
            "no-replay" => Self::NoReplay,
            "no-settle" => Self::NoSettle,
            "no-sync" => Self::NoSync,
            other => panic!("SPOOLGATE_FAULT_INJECTION: no mistake is called {other:?}"),
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    pub fn chosen() -> Self {
        Self::None
    }

    /// This move of a job is not recorded.
    pub(super) fn forgets(self, by: &Transition) -> bool {
        match by {
            Transition::Claim { .. } => self == Self::NoAttempts,
            Transition::Archive | Transition::Defer { .. } | Transition::Fail => {
                self == Self::NoSettle
            }
            Transition::Discard | Transition::Release | Transition::Requeue(_) => false,
        }
    }

    /// What was done to files in `before` is in them now.
    pub(super) fn trusts(self, before: Option<MountId>, now: Option<MountId>) -> bool {
        match (before, now) {
            (Some(before), Some(now)) if self == Self::BootIdAlone => before.boot == now.boot,
            (Some(before), Some(now)) => before == now,
            (None, _) | (_, None) => false,
        }
    }

    pub(super) fn flushes(self) -> bool {
        #[cfg(test)]
        assert_ne!(self, Self::PanicsInFlush, "injected");
        !matches!(self, Self::NoFlush | Self::NoSync)
    }

    pub(super) fn replays(self) -> bool {
        self != Self::NoReplay
    }

    pub(super) fn syncs_checkpoints(self) -> bool {
        #[cfg(test)]
        assert_ne!(self, Self::PanicsInCheckpoint, "injected");
        !matches!(self, Self::NoCheckpointSync | Self::NoSync)
    }
}
