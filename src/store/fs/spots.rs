//! Where a job is for those to whom it may not be shown: by looks at single names, as many whether it is not
//! shown or not there, and however many interfaces there are.
//!
//! It is looked for in one interface: where it is known to wait, else whose it is by the record, which also says
//! where people have moved it. A file that is somewhere else all the same, since it was moved a moment ago or
//! where nobody looks for new jobs, is found by a look at all interfaces.
//!
//! Invariant: other interfaces are looked at, and `work` and `deferred` are listed, only for whom what is recorded of
//! the job lets see it. Until each queue has been scanned once, all are looked at for everybody, by name.

use super::{
    Accepted, EntryKind, Fs, PlacePath, Spool, SpoolError, claim::run_file, records::Search,
};
use crate::domain::{InterfaceName, Job, JobName, Place, Queue, UserName};
use std::sync::atomic::Ordering;

/// Rounds of a look while jobs move, or directories are listed.
const LOOKS_MAX: usize = 4;

/// Where a job is looked for first.
pub(super) struct Home {
    /// `None`: there is no interface. Of a job that nobody knows it is any, so that as much is looked at.
    queue: Option<Queue>,
    is_recorded: bool,
}

/// Where a job is, as far as looks at single names say it.
pub(super) enum Spot {
    /// Maybe in an interface that nobody knows it to be in.
    Anywhere,
    /// With the owner of its file, where that was looked at.
    At { place: Place, uid: Option<u32> },
    /// A run of it has its lock here.
    Run(InterfaceName),
    /// It has been tried and has not ended: it may be deferred.
    Tried(InterfaceName),
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
            Self::Anywhere | Self::Run(_) | Self::Tried(_) => None,
        }
    }

    pub(super) fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::At { place, .. } => place.interface(),
            Self::Run(interface) => Some(interface),
            Self::Anywhere | Self::Tried(_) => None,
        }
    }

    pub(super) fn addressee(&self) -> Option<&UserName> {
        self.place()?.addressee()
    }
}

impl<F: Fs> Spool<F> {
    /// Where a job is to be looked for first. Its record is read if it is not known to wait.
    ///
    /// # Errors
    /// When the record of its day cannot be read.
    pub(super) fn home_of(
        &self,
        name: &JobName,
        search: &mut Search<F>,
    ) -> Result<Home, SpoolError> {
        if let Some(queue) = self.waits_in(name) {
            return Ok(Home {
                queue: Some(queue),
                is_recorded: true,
            });
        }
        let accepted = self.searched(search)?;
        let moved = self.moved(name)?;
        let is_recorded = accepted.is_some() || moved.is_some();
        let interfaces = self.interfaces.load();
        let recorded = moved.or_else(|| accepted.as_ref()?.interface.clone());
        let recorded = recorded.filter(|of| interfaces.contains_key(of));
        let Some(interface) = recorded.or_else(|| interfaces.keys().next().cloned()) else {
            return Ok(Home {
                queue: None,
                is_recorded,
            });
        };
        let addressee = match self.is_addressed(&interface) {
            true => (self.last_addressee(name)?).or_else(|| accepted?.addressee.clone()),
            false => None,
        };
        let queue = Queue {
            interface,
            addressee,
        };
        Ok(Home {
            queue: Some(queue),
            is_recorded,
        })
    }

    /// Where a job is that `sees` lets be seen; it is asked of each place where the job may be, and for what it
    /// does not let be seen the search goes on as for what is not there. A file that someone put into `work` or
    /// `deferred` by hand is found once it comes to its queue.
    ///
    /// # Errors
    /// Those of `sees`, and when a directory or the record of the job's day cannot be read.
    pub(super) fn find_seen(
        &self,
        name: &JobName,
        home: &Home,
        sees: &mut dyn FnMut(&Spot) -> Result<bool, SpoolError>,
    ) -> Result<Option<Place>, SpoolError> {
        for round in 0..LOOKS_MAX {
            let before = self.moves.load(Ordering::SeqCst);
            let mut has_listed = false;
            for spot in self.spots(name, home)? {
                let spot = spot?;
                if !sees(&spot)? {
                    continue;
                }
                has_listed |= spot.place().is_none();
                if let Some(place) = self.place_of(name, home, spot, sees)? {
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
        let home = self.home_of(name, &mut Search::new(name.id()))?;
        self.find_seen(name, &home, &mut |_| Ok(true))
    }

    /// The spots of a job: as many looks for every name, each made when it is asked for.
    fn spots<'s>(
        &'s self,
        name: &'s JobName,
        home: &'s Home,
    ) -> Result<impl Iterator<Item = Result<Spot, SpoolError>> + 's, SpoolError> {
        let tried = match (&home.queue, self.attempts_of(name)?) {
            (None, _) | (_, 0) => None,
            (Some(queue), _) => Some(Ok(Spot::Tried(queue.interface.clone()))),
        };
        let queue = home.queue.iter();
        let places = queue.clone().map(|queue| Place::Queue(queue.clone()));
        let places = places.chain(
            queue
                .clone()
                .map(|queue| Place::Bak(queue.interface.clone())),
        );
        let places = places.chain([Place::JobErrors, Place::Refused]);
        let at = places.filter_map(|place| self.at(place, name).transpose());
        let run = queue.filter_map(|queue| self.lock_of(&queue.interface, name).transpose());
        Ok(at.chain(run).chain(tried).chain([Ok(Spot::Anywhere)]))
    }

    /// A job in whichever interface it may be that nobody knows it to be in: where it was recorded, in all; else in
    /// those of which not all that waits is known.
    fn look_everywhere(
        &self,
        name: &JobName,
        home: &Home,
        sees: &mut dyn FnMut(&Spot) -> Result<bool, SpoolError>,
    ) -> Result<Option<Place>, SpoolError> {
        let interfaces = match home.is_recorded || !self.has_scanned_all() {
            true => self.interfaces(),
            false => self.addressed_interfaces(),
        };
        for interface in interfaces {
            let queues = self.queues(&interface)?.into_iter().map(Place::Queue);
            for place in queues.chain([Place::Bak(interface.clone())]) {
                if let Some(spot) = self.at(place, name)?
                    && sees(&spot)?
                {
                    return Ok(spot.place().cloned());
                }
            }
            if let Some(run) = self.lock_of(&interface, name)?
                && sees(&run)?
                && let Some(place) = self.look_in_work(name, &interface)?
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn at(&self, place: Place, name: &JobName) -> Result<Option<Spot>, SpoolError> {
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
        home: &Home,
        spot: Spot,
        sees: &mut dyn FnMut(&Spot) -> Result<bool, SpoolError>,
    ) -> Result<Option<Place>, SpoolError> {
        match spot {
            Spot::At { place, .. } => Ok(Some(place)),
            Spot::Run(interface) => self.look_in_work(name, &interface),
            Spot::Tried(interface) => {
                let Some(place) = self.look_among_deferred(name, &interface)? else {
                    return Ok(None);
                };
                Ok(sees(&Spot::at(&place))?.then_some(place))
            }
            Spot::Anywhere => self.look_everywhere(name, home, sees),
        }
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
            Spot::Anywhere | Spot::Run(_) | Spot::Tried(_) => return Ok(true),
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
