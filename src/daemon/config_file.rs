//! Whether the configuration is still the one that the service was started with.
//!
//! It is read at the start only. A change is reported, so that no one believes that it is in force.

use crate::config::Config;
use parking_lot::Mutex;
use std::path::PathBuf;

pub(super) struct ConfigWatch {
    path: PathBuf,
    /// What the service was started with.
    sha256: String,
    /// What was reported last.
    reported: Mutex<Option<String>>,
}

impl ConfigWatch {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            path: config.path.clone(),
            sha256: config.sha256.clone(),
            reported: Mutex::default(),
        }
    }

    /// Reads the file again and reports what has changed. Blocking.
    pub(super) fn look(&self) {
        let found = match Config::load(&self.path) {
            Ok(config) if config.sha256 == self.sha256 => None,
            Ok(_) => Some("it was changed since the start; restart the service to apply it".into()),
            Err(error) => Some(format!("a restart would fail: {error}")),
        };
        let mut reported = self.reported.lock();
        if *reported == found {
            return;
        }
        match &found {
            Some(text) => tracing::warn!(path = %self.path.display(), "the configuration: {text}"),
            None => tracing::info!("the configuration is again that of the start"),
        }
        *reported = found;
    }

    /// What is to be known of it, as one of the sentences of `/readyz`.
    pub(super) fn warning(&self) -> Option<String> {
        let reported = self.reported.lock();
        // Without what is wrong with it: that may be anyone's words.
        let failing = reported.as_ref()?.starts_with("a restart");
        Some(
            match failing {
                true => "the configuration was changed and a restart would fail; the log says why",
                false => "the configuration was changed since the start; restart to apply it",
            }
            .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spoolgate.toml");
        let text = "[interfaces.a]\ndirection = \"in\"\nschema = \"\"\n";
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(text);
        let file = ConfigWatch::of(&Config::load(&path).unwrap());
        let warning = || {
            file.look();
            file.warning()
        };
        assert_eq!(warning(), None);
        write(&format!("{text}# a comment\n"));
        assert!(warning().unwrap().contains("restart to apply"));
        write("[interface.a]");
        assert!(warning().unwrap().contains("would fail"));
        write(text);
        assert_eq!(warning(), None);
    }
}
