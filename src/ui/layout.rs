//! What all pages have around them.

use super::{
    assets,
    bar::{self, Figure},
    look::Clock,
    visit::Visit,
};
use http::Method;

/// Where on the page somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Errors,
    Events,
    Index,
    Jobs,
    Partners,
    Schedules,
    /// On none that the head names.
    Elsewhere,
}

/// An entry of the head.
pub(super) struct Entry {
    pub(super) href: String,
    pub(super) name: &'static str,
    pub(super) is_here: bool,
}

/// The head of a page, the figures that every page has, and what the page is of.
pub(super) struct Frame {
    pub(super) base: String,
    pub(super) user: String,
    /// Of which tenant, if it is another one than that of the host.
    pub(super) tenant: Option<String>,
    pub(super) token: String,
    pub(super) clock: Clock,
    pub(super) entries: Vec<Entry>,
    pub(super) bar_label: &'static str,
    pub(super) bar: Vec<Figure>,
    /// What keeps partners from being served.
    pub(super) note: Option<String>,
    pub(super) style: String,
    pub(super) script: String,
    /// From where the page hears what has changed.
    pub(super) stream: Option<String>,
}

impl Visit<'_> {
    /// The page's own address, if it is told there what changes.
    fn stream(&self, here: Section) -> Option<String> {
        let is_page = self.head.method == Method::GET && here != Section::Elsewhere;
        let is_shown = is_page && super::is_followed(self.path);
        let to = self.head.uri.path_and_query()?;
        is_shown.then(|| to.to_string())
    }

    /// What is around a page.
    pub(super) async fn frame(&self, here: Section) -> Frame {
        let entry = |section, path, name| Entry {
            href: format!("{}{path}", self.base),
            name,
            is_here: section == here,
        };
        let entries = match self.is_operator() {
            true => vec![
                entry(Section::Index, "", "Interfaces"),
                entry(Section::Jobs, "jobs", "Jobs"),
                entry(Section::Errors, "errors", "Errors"),
                entry(Section::Schedules, "schedules", "Schedules"),
                entry(Section::Partners, "partners", "Partners"),
                entry(Section::Events, "events", "Events"),
            ],
            false => vec![
                entry(Section::Index, "", "Mine"),
                entry(Section::Jobs, "jobs", "My jobs"),
            ],
        };
        let (bar_label, bar, note) = match self.is_operator() {
            true => {
                let (bar, note) = bar::of_spool(self).await;
                ("The spool now", bar, note)
            }
            false => ("Your jobs now", bar::of_partner(self).await, None),
        };
        Frame {
            base: self.base.clone(),
            user: self.caller.user.to_string(),
            tenant: (self.base != super::ROOT).then(|| self.spool.name.clone()),
            token: self.token.clone(),
            clock: self.clock.clone(),
            entries,
            bar_label,
            bar,
            note,
            style: assets::style(),
            script: assets::script(),
            stream: self.stream(here),
        }
    }
}
