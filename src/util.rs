//! What several parts need and none of them is about: [`modes`] says who may read and write what the
//! service trusts, [`plain`] opens plain files of bounded size, [`secret`] reads what is for its owner only, [`sandbox`] starts a process that can reach few files, [`Input`] is a file that can be read again, [`doubled()`] is how long to wait after
//! failures, [`Heartbeat`] whether a loop still goes round, [`nearest()`] what a misspelt word was to be, [`processors()`] how much can be done at the
//! same time.

mod doubled;
mod heartbeat;
mod input;
pub(crate) mod modes;
mod nearest;
pub(crate) mod plain;
mod processors;
pub(crate) mod sandbox;
pub(crate) mod secret;
#[cfg(test)]
pub(crate) mod until;

pub(crate) use doubled::doubled;
pub(crate) use heartbeat::{EVERY as HEARTBEAT_EVERY, Heartbeat};
pub(crate) use input::Input;
pub(crate) use nearest::nearest;
pub(crate) use processors::processors;
