//! What several parts need and none of them is about: [`modes`] says who may read and write what the
//! service trusts, [`plain`] opens plain files of bounded size, [`doubled()`] is how long to wait after
//! failures, [`nearest()`] what a misspelt word was to be.

mod doubled;
pub(crate) mod modes;
mod nearest;
pub(crate) mod plain;

pub(crate) use doubled::doubled;
pub(crate) use nearest::nearest;
