//! What several parts need and none of them is about: [`modes`] says who may read and write what the
//! service trusts, [`plain`] opens plain files of bounded size.

pub(crate) mod modes;
pub(crate) mod plain;
