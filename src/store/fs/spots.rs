//! Where a job is for those to whom it may not be shown: by looks at single names, as many whether it is not
//! shown or not there.
//!
//! Invariant: `work` and `deferred` are listed only for whom what is recorded of the job lets see it.

use super::{Accepted, EntryKind, Fs, PlacePath, Spool, SpoolError, claim::run_file};
use crate::domain::{InterfaceName, Job, JobName, Place, UserName};
use std::sync::atomic::Ordering;

/// Rounds of a look while jobs move, or directories are listed.
const LOOKS_MAX: usize = 4;

/// Where a job is, as far as looks at single names say it.
pub(super) enum Spot {
    /// With the owner of its file, where that was looked at.
    At { place: Place, uid: Option<u32> },
    /// A run of it has its lock here.
    Run(InterfaceName),
    /// It has been tried and has not ended: it may be deferred, of whichever interface.
    Tried,
}

impl Spot {
    /// A place that was not looked at.
    pub(super) fn at(place: &Place) -> Self {
        let place = place.clone();
        Self::At { place, uid: None }
    }

    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::At { place, .. } => Some(place),
            Self::Run(_) | Self::Tried => None,
        }
    }

    pub(super) fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::At { place, .. } => place.interface(),
            Self::Run(interface) => Some(interface),
            Self::Tried => None,
        }
    }

    pub(super) fn addressee(&self) -> Option<&UserName> {
        self.place()?.addressee()
    }
}

impl<F: Fs> Spool<F> {
    /// Where a job is that `sees` lets be seen; it is asked of each place where the job may be, and for what it
    /// does not let be seen the search goes on as for what is not there. A file that someone put into `work` or
    /// `deferred` by hand is found once it comes to its queue.
    ///
    /// # Errors
    /// Those of `sees`, and when a directory or the record of the job's day cannot be read.
    pub(super) fn find_seen(
        &self,
        name: &JobName,
        sees: &mut dyn FnMut(&Spot) -> Result<bool, SpoolError>,
    ) -> Result<Option<Place>, SpoolError> {
        for round in 0..LOOKS_MAX {
            let before = self.moves.load(Ordering::SeqCst);
            let was_tried = self.attempts_of(name)? > 0;
            let mut has_listed = false;
            for spot in self.spots(name).chain(was_tried.then_some(Ok(Spot::Tried))) {
                let spot = spot?;
                if !sees(&spot)? {
                    continue;
                }
                has_listed |= spot.place().is_none();
                if let Some(place) = self.place_of(name, spot, sees)? {
                    return Ok(Some(place));
                }
            }
            // It may have settled, or come back to its queue, while directories were listed.
            let is_sure = round > 0 || !has_listed;
            if is_sure && self.moves.load(Ordering::SeqCst) == before {
                break;
            }
        }
        Ok(None)
    }

    /// The same for whoever sees every job.
    ///
    /// # Errors
    /// As those of [`Spool::find_seen`].
    pub(super) fn find_known(&self, name: &JobName) -> Result<Option<Place>, SpoolError> {
        self.find_seen(name, &mut |_| Ok(true))
    }

    /// The places at which a job's name is: as many looks for every name, each made when it is asked for.
    fn spots<'s>(
        &'s self,
        name: &'s JobName,
    ) -> impl Iterator<Item = Result<Spot, SpoolError>> + 's {
        let queues = self.interfaces().into_iter().flat_map(|interface| {
            let queues = self.queues(&interface);
            let (queues, error) = match queues {
                Ok(queues) => (queues, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let places = queues.into_iter().map(|queue| Ok(Place::Queue(queue)));
            places.chain(error)
        });
        let bak = self.interfaces().into_iter().map(Place::Bak);
        let settled = bak.chain([Place::JobErrors, Place::Refused]).map(Ok);
        let places = queues.chain(settled);
        let at = places.filter_map(|place| self.at(place, name).transpose());
        let interfaces = self.interfaces().into_iter();
        let runs = interfaces.filter_map(|interface| self.lock_of(&interface, name).transpose());
        at.chain(runs)
    }

    fn at(
        &self,
        place: Result<Place, SpoolError>,
        name: &JobName,
    ) -> Result<Option<Spot>, SpoolError> {
        let place = place?;
        let stat = self.stat(&place.path(name))?;
        let file = stat.filter(|stat| stat.kind == EntryKind::File);
        Ok(file.map(|file| Spot::At {
            place,
            uid: Some(file.uid),
        }))
    }

    fn lock_of(
        &self,
        interface: &InterfaceName,
        name: &JobName,
    ) -> Result<Option<Spot>, SpoolError> {
        let lock = self.stat(&run_file(interface, name, "lock"))?;
        Ok(lock.map(|_| Spot::Run(interface.clone())))
    }

    /// The place of a job at a spot where it is seen.
    fn place_of(
        &self,
        name: &JobName,
        spot: Spot,
        sees: &mut dyn FnMut(&Spot) -> Result<bool, SpoolError>,
    ) -> Result<Option<Place>, SpoolError> {
        match spot {
            Spot::At { place, .. } => return Ok(Some(place)),
            Spot::Run(interface) => return self.look_in_work(name, &interface),
            Spot::Tried => {}
        }
        for interface in &self.interfaces() {
            if let Some(place) = self.look_among_deferred(name, interface)? {
                let deferred = Spot::at(&place);
                return Ok(sees(&deferred)?.then_some(place));
            }
        }
        Ok(None)
    }

    /// Is the file at a spot the one that came with that line? A place that was not looked at is looked at.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn believes_at(
        &self,
        name: &JobName,
        spot: &Spot,
        accepted: &Accepted,
    ) -> Result<bool, SpoolError> {
        let (place, uid) = match spot {
            Spot::At { place, uid } => (place, uid),
            Spot::Run(_) | Spot::Tried => return Ok(true),
        };
        match uid {
            Some(uid) => self.believes_of(*uid, accepted.uid),
            None => {
                let (place, name) = (place.clone(), name.clone());
                self.believes(&Job { place, name }, accepted)
            }
        }
    }
}
