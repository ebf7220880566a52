//! The places over a list of jobs, each with how many jobs lie there.

use super::{
    census::Picture,
    jobs::Wanted,
    look::{Html, number, state},
    respond::Trouble,
    visit::Visit,
};
use crate::{
    domain::InterfaceName,
    ops::selection::JobState,
    store::{AtPlace, Filter, InterfaceCounts, State, Viewer},
};

/// So many jobs of a state are counted that has no count of its own.
const COUNTED: usize = 1000;

/// The jobs of one place.
pub(super) struct Tab {
    pub(super) mark: Html,
    pub(super) href: String,
    pub(super) n: Option<String>,
    pub(super) is_here: bool,
}

/// The places, each with the same filter; for who sees all of the spool, with how many jobs lie there, unless the filter
/// has more than an interface.
pub(super) async fn tabs(visit: &Visit<'_>, wanted: &Wanted) -> Result<Vec<Tab>, Trouble> {
    let of_place = Wanted {
        place: wanted.place,
        interface: wanted.interface.clone(),
        ..Wanted::default()
    };
    let picture = match visit.is_operator() && *wanted == of_place {
        true => Some(visit.picture().await?),
        false => None,
    };
    let mut tabs = vec![tab(visit, wanted, None, None)];
    for place in JobState::ALL {
        let n = match &picture {
            Some(picture) => Some(n_at(visit, picture, wanted.interface.as_ref(), place).await?),
            None => None,
        };
        tabs.push(tab(visit, wanted, Some(place), n));
    }
    Ok(tabs)
}

fn tab(visit: &Visit<'_>, wanted: &Wanted, place: Option<JobState>, n: Option<String>) -> Tab {
    let of = Wanted {
        place,
        ..wanted.clone()
    };
    Tab {
        mark: place.map_or(Html("all".into()), state),
        href: visit.to("jobs", of.values()),
        n,
        is_here: wanted.place == place,
    }
}

/// How many jobs of an interface, or of all, are in a state.
async fn n_at(
    visit: &Visit<'_>,
    picture: &Picture,
    interface: Option<&InterfaceName>,
    place: JobState,
) -> Result<String, Trouble> {
    let at = |of: fn(&InterfaceCounts) -> &AtPlace| {
        let all = picture.counts.of.iter();
        let these = all.filter(|(name, _)| interface.is_none_or(|wanted| wanted == *name));
        number(these.map(|(_, counts)| of(counts).jobs).sum::<usize>() as u64)
    };
    let listed = |states| Filter {
        interface: interface.cloned(),
        at: vec![place.kind()],
        states,
        ..Filter::default()
    };
    match place {
        JobState::Queued => Ok(at(|of| &of.queued)),
        JobState::Running => Ok(at(|of| &of.running)),
        JobState::Deferred => Ok(at(|of| &of.deferred)),
        JobState::Done => Ok(at(|of| &of.done)),
        // Both lie at one place.
        JobState::Failed => counted(visit, &listed(vec![State::Failed])).await,
        JobState::Cancelled => counted(visit, &listed(vec![State::Cancelled])).await,
        JobState::Refused if interface.is_none() => Ok(number(picture.counts.refused as u64)),
        JobState::Refused => counted(visit, &listed(Vec::new())).await,
    }
}

/// How many jobs there are, counted one by one: `1 000+` beyond [`COUNTED`].
async fn counted(visit: &Visit<'_>, filter: &Filter) -> Result<String, Trouble> {
    let store = &visit.spool.store;
    let page = store.list(&Viewer::all(), filter, None, COUNTED).await?;
    let or_more = if page.next.is_some() { "+" } else { "" };
    Ok(number(page.jobs.len() as u64) + or_more)
}
