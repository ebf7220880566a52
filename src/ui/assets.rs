//! The sheet and the script, under addresses that change with them, so that a browser keeps each as long as it likes.

use super::respond::{content, set};
use crate::{
    api::Payload,
    assets::{UI_SCRIPT, UI_STYLE},
};
use http::{Response, StatusCode, header::CACHE_CONTROL};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

static STYLE_VERSION: LazyLock<String> = LazyLock::new(|| version(UI_STYLE));
static SCRIPT_VERSION: LazyLock<String> = LazyLock::new(|| version(UI_SCRIPT));

fn version(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..6])
}

pub(super) fn style() -> String {
    format!("/ui/style.css?{}", *STYLE_VERSION)
}

pub(super) fn script() -> String {
    format!("/ui/live.js?{}", *SCRIPT_VERSION)
}

/// The file of that path; `None`: there is none.
pub(super) fn answer(path: &str, query: Option<&str>) -> Option<Response<Payload>> {
    let (kind, text, version) = match path {
        "/ui/style.css" => ("text/css; charset=utf-8", UI_STYLE, &*STYLE_VERSION),
        "/ui/live.js" => (
            "text/javascript; charset=utf-8",
            UI_SCRIPT,
            &*SCRIPT_VERSION,
        ),
        _ => return None,
    };
    let mut response = content(StatusCode::OK, kind, text);
    if query == Some(version) {
        set(
            &mut response,
            CACHE_CONTROL,
            "private, max-age=31536000, immutable",
        );
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_the_sheet_are_small_and_have_addresses_of_their_own() {
        assert!(UI_SCRIPT.len() <= 6 * 1024, "{}", UI_SCRIPT.len());
        assert!(UI_STYLE.len() <= 12 * 1024, "{}", UI_STYLE.len());
        for address in [style(), script()] {
            let (path, query) = address.split_once('?').unwrap();
            let kept = answer(path, Some(query)).unwrap();
            assert!(kept.headers().contains_key(CACHE_CONTROL));
            // An old address has the new file, for once.
            let other = answer(path, Some("old")).unwrap();
            assert!(!other.headers().contains_key(CACHE_CONTROL));
        }
        assert!(answer("/ui/jobs", None).is_none());
    }
}
