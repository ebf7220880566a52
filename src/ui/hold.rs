//! Holding and releasing an interface: the form, wherever it is shown, and what it does.

use super::{
    form::Form,
    look::Html,
    respond::{Answer, Trouble, redirect},
    visit::Visit,
};
use crate::{
    domain::{InterfaceName, JobName},
    ops::admin::Operation,
};
use askama::Template;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

#[derive(Template)]
#[template(path = "hold.html")]
struct HoldForm<'f> {
    base: &'f str,
    token: &'f str,
    name: &'f str,
    is_held: bool,
    /// The page of the job on which it stands.
    back: Option<String>,
    zone: String,
}

impl Visit<'_> {
    /// The form that holds or releases an interface, for who may. `back`: it stands on the page of that job, and leads
    /// there again.
    pub(super) fn hold_form(
        &self,
        interface: &InterfaceName,
        is_held: bool,
        back: Option<&JobName>,
    ) -> Option<Html> {
        let form = HoldForm {
            base: &self.base,
            token: &self.token,
            name: interface.as_str(),
            is_held,
            back: back.map(ToString::to_string),
            zone: self.clock.zone_name(),
        };
        self.may_manage(Some(interface)).then(|| Html::of(&form))
    }

    /// What the hold of an interface says, for who may release it.
    pub(super) async fn hold_said(
        &self,
        interface: &InterfaceName,
    ) -> Result<Option<String>, Trouble> {
        if !self.may_manage(Some(interface)) {
            return Ok(None);
        }
        let text = self.spool.store.hold_text(interface).await?;
        Ok(text.map(|text| self.clock.said(&text)))
    }
}

/// Holds an interface, or ends its hold.
pub(super) async fn act(visit: &Visit<'_>, form: &Form) -> Answer {
    let (hold, release) = (form.parsed("hold"), form.parsed("release"));
    let interface: &InterfaceName = match (&hold, &release) {
        (Some(interface), None) | (None, Some(interface)) => interface,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Trouble::Invalid(
                "say which interface to hold or to release".into(),
            ));
        }
    };
    if !visit.may_manage(Some(interface)) {
        let text = format!("you have no right to manage {interface}");
        return Err(Trouble::Forbidden(text));
    }
    let interface = interface.clone();
    let operation = match hold {
        Some(_) => Operation::Hold {
            until: until(form.get("until"), &visit.clock.zone)?,
            reason: form.get("reason").unwrap_or_default().to_owned(),
            interface,
        },
        None => Operation::Release { interface },
    };
    visit.spool.admin.act(&operation, &visit.by()).await?;
    visit.spool.census.forget().await;
    let back: Option<JobName> = form.parsed("back");
    Ok(redirect(&back.map_or_else(
        || visit.base.clone(),
        |job| visit.to(&format!("job/{job}"), []),
    )))
}

/// The moment of a field of a form, which has no zone.
fn until(given: Option<&str>, zone: &TimeZone) -> Result<Option<Timestamp>, Trouble> {
    let Some(given) = given else { return Ok(None) };
    let moment = given.parse::<DateTime>().ok();
    let moment = moment.and_then(|moment| zone.to_timestamp(moment).ok());
    match moment {
        Some(moment) => Ok(Some(moment)),
        None => Err(Trouble::Invalid(format!(
            "{given} is no moment; write it as 2026-11-26T18:00"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_a_moment_of_the_readers_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text| until(text, &zone).ok().flatten().map(|at| at.to_string());
        assert_eq!(at(None), None);
        assert_eq!(
            at(Some("2026-11-26T18:00")).as_deref(),
            Some("2026-11-26T17:00:00Z")
        );
        assert!(until(Some("<b>"), &zone).is_err());
    }
}
