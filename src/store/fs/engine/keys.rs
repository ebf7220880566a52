//! Keys of commits that are under way.

use crate::store::Key;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::super::lock;

/// Keys of commits that are under way, each with those who wait for it.
#[derive(Default)]
pub(super) struct Keys(Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>);

/// The sole right to commit under a key.
pub(super) struct KeyGuard<'k> {
    keys: &'k Keys,
    key: Key,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Keys {
    /// Waits until no other commit under this key is under way.
    pub(super) async fn hold(&self, key: &Key) -> KeyGuard<'_> {
        let mutex = {
            let mut keys = lock(&self.0);
            keys.entry(key.clone()).or_default().clone()
        };
        KeyGuard {
            keys: self,
            key: key.clone(),
            _held: mutex.lock_owned().await,
        }
    }
}

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        let mut keys = lock(&self.keys.0);
        // The map's, and this guard's: nobody else waits.
        if keys
            .get(&self.key)
            .is_some_and(|mutex| Arc::strong_count(mutex) <= 2)
        {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_under_one_key_come_one_after_the_other() {
        let keys = Arc::new(Keys::default());
        let key = Key::new("shop", "1");
        let first = keys.hold(&key).await;
        let other = keys.hold(&Key::new("shop", "2")).await;
        let waiting = tokio::spawn({
            let (keys, key) = (keys.clone(), key.clone());
            async move { drop(keys.hold(&key).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(other);
        assert!(lock(&keys.0).is_empty(), "keys are forgotten");
    }
}
