//! The domain: names, ids, places, transitions, options, and in [`joblog`] what happened to a job. Pure: no files, no clock, no async, no HTTP words.
//!
//! What a path would interpret (`..`, `/`, a leading dot) does not exist as a value of these
//! types: [`InterfaceName`], [`JobName`], [`Reference`] and [`UserName`] are built by parsing only,
//! and from then on nothing re-checks them.
//!
//! Invariant: where a job is, is which directory its file lies in. [`Place`] prints as that
//! directory, [`Place::step`] is the only function that knows which moves are legal, and a path
//! is a pure function of place and name.

mod digests;
mod ids;
pub mod joblog;
mod line;
mod media_type;
mod name;
mod options;
mod order;
mod place;
#[cfg(test)]
mod properties;
mod seal;
pub(crate) mod text;

pub use digests::{Digests, digest_field};
pub use ids::{Horizon, Ids, RANGES_MAX, Range};
pub use line::{escaped, spaced, write_escaped};
pub use media_type::{EXTENSIONS, extension_of};
pub use name::{
    InterfaceName, JobId, JobName, Kind, NAME_BYTES_MAX, NameError, REFERENCE_BYTES_MAX, Reference,
    USER_BYTES_MAX, UserName, parse_stamp, stamp,
};
pub use options::{
    JobOptions, PARAMS_BYTES_MAX, Priority, PriorityError, WORKER_TAG_BYTES_MAX, WorkerTag,
    WorkerTagError, WorkerTags,
};
pub use order::{OrderBy, OrderByError};
pub use place::{Illegal, Job, Place, PlaceKind, Queue, Transition};
#[cfg(test)]
pub(crate) use properties::{
    any_interface, any_job_name, any_place, any_queue, any_text, every_place, is_plain, settings,
};
pub use seal::{KEY_BYTES, Seal, id_in_hex, id_in_uuid, parse_uuid};
