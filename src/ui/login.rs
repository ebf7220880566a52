//! Logging in by a form, and out again. Guesses are slowed as everywhere else, see [`Users::login`].
//!
//! [`Users::login`]: crate::auth::Users::login

use super::{
    ROOT, assets,
    form::{Form, address},
    respond::{page_of, redirect},
    visit::{COOKIE_NAME, is_from_here},
};
use crate::{
    api::Payload,
    auth::{Denied, SESSION_LIFETIME_S},
    http::{BodyError, UiAnswer, UiRequest},
    metrics::Login,
};
use askama::Template;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{RETRY_AFTER, SET_COOKIE},
    request::Parts,
};

pub(super) const PATH: &str = "/ui/login";
/// A name, a password, and where to go then.
const FORM_BYTES_MAX: u64 = 16 * 1024;
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'p> {
    style: String,
    to: &'p str,
    user: &'p str,
    /// Why the login before was refused.
    wrong: Option<String>,
    hours: u32,
}

/// A page that leads to itself: from there on it is a page of ours that asks, and the browser shows its session.
#[derive(Template)]
#[template(
    source = r#"<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={{ to }}"><title>Spoolgate</title><p><a href="{{ to }}">Go on</a></p></html>"#,
    ext = "html"
)]
struct Again<'p> {
    to: &'p str,
}

/// To whoever has not logged in and asks for a page.
pub(super) fn first(head: &Parts) -> Response<Payload> {
    let to = own(head.uri.path_and_query().map_or(ROOT, |to| to.as_str()));
    // Who follows a link from elsewhere shows no session, by `SameSite=Strict`, though there may be one.
    let by_link = head.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    match (&head.method, by_link) {
        (&Method::GET, Some(b"cross-site" | b"same-site")) => page_of(&Again { to }),
        (&Method::GET, _) => redirect(&address(PATH, [("to", Some(to))])),
        _ => redirect(PATH),
    }
}

/// The address if it is one of the page's, else that of the first page. Nobody is led to where a job is fetched, by which
/// it goes to the archive.
fn own(to: &str) -> &str {
    let is_plain = to
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    match is_plain && !to.contains("/fetch/") && to.starts_with(ROOT) && !to.starts_with(PATH) {
        true => to,
        false => ROOT,
    }
}

/// The form, and what is sent by it.
pub(super) async fn answer(request: UiRequest<'_>) -> Result<UiAnswer, BodyError> {
    let head = request.head;
    if head.method != Method::POST {
        let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        let to = own(query.get("to").unwrap_or(ROOT));
        return Ok(page(to, "", None).into());
    }
    let form = Form::parse(&request.body.whole(FORM_BYTES_MAX).await?);
    let to = own(form.get("to").unwrap_or(ROOT));
    let user = form.get("user").unwrap_or_default();
    if !is_from_here(head) {
        let wrong = "The form is not from this page: send it from here.".to_owned();
        return Ok(refused(
            StatusCode::FORBIDDEN,
            page(to, user, Some(wrong)),
            None,
        ));
    }
    // A password may begin or end with a blank.
    let password = form.exact("password").unwrap_or_default();
    let users = &request.host.users;
    let caller = match users.login(user, password, request.client).await {
        Ok(caller) => caller,
        Err(Denied::Credentials) => {
            let page = page(to, user, Some("Name or password is wrong.".into()));
            return Ok(refused(StatusCode::FORBIDDEN, page, Some(Login::Rejected)));
        }
        Err(Denied::Slow { retry_after_s }) => {
            let wrong =
                format!("Too many logins have failed. You can try again in {retry_after_s} s.");
            let mut page = page(to, user, Some(wrong));
            page.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Ok(refused(status, page, Some(Login::Throttled)));
        }
    };
    let Ok(session) = users.begin_session(&caller, jiff::Timestamp::now().as_millisecond()) else {
        let wrong = "The password has been changed just now: log in with the new one.".to_owned();
        return Ok(refused(
            StatusCode::FORBIDDEN,
            page(to, user, Some(wrong)),
            None,
        ));
    };
    let mut response = redirect(to);
    set_cookie(&mut response, &session, SESSION_LIFETIME_S);
    Ok(UiAnswer {
        user: Some(caller.user.clone()),
        login: Some(Login::Accepted),
        ..response.into()
    })
}

/// Lets the browser forget the session.
pub(super) fn out() -> Response<Payload> {
    let mut response = redirect(PATH);
    set_cookie(&mut response, "", 0);
    response
}

fn set_cookie(response: &mut Response<Payload>, session: &str, lifetime_s: u32) {
    let cookie = format!(
        "{COOKIE_NAME}={session}; Path=/; Max-Age={lifetime_s}; Secure; HttpOnly; SameSite=Strict"
    );
    // A session has letters, digits and a few signs only.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

fn page(to: &str, user: &str, wrong: Option<String>) -> Response<Payload> {
    let page = LoginPage {
        style: assets::style(),
        to,
        user,
        wrong,
        hours: SESSION_LIFETIME_S / 3600,
    };
    page_of(&page)
}

fn refused(status: StatusCode, mut page: Response<Payload>, login: Option<Login>) -> UiAnswer {
    *page.status_mut() = status;
    UiAnswer {
        login,
        ..page.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for to in ["/ui/", "/ui/jobs?place=failed&q=%3Cb%3E"] {
            assert_eq!(own(to), to);
        }
        for to in [
            "",
            "/",
            "/xml/upload",
            "//evil.example/ui/",
            "https://evil.example/ui/",
            "/ui/\\evil",
            "/ui/\r\nx: y",
            "/ui/login?to=/ui/",
            "/ui/fetch/orders_out/20261126T133502.870Z-00000.xml",
            "/ui/ä",
        ] {
            assert_eq!(own(to), ROOT, "{to}");
        }
    }
}
