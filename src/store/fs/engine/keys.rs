//! What is under way under a key: a commit, the archiving of a job, a change of a schedule.

use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Keys of what is under way, each with those who wait for it.
pub(super) struct Keys<K: Clone + Eq + Hash>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

/// The sole right to go on under a key.
pub(super) struct KeyGuard<'k, K: Clone + Eq + Hash> {
    keys: &'k Keys<K>,
    key: K,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl<K: Clone + Eq + Hash> Default for Keys<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Keys<K> {
    /// Waits until nothing else is under way under this key.
    pub(super) async fn hold(&self, key: &K) -> KeyGuard<'_, K> {
        let mutex = {
            let mut keys = self.0.lock();
            keys.entry(key.clone()).or_default().clone()
        };
        KeyGuard {
            keys: self,
            key: key.clone(),
            _held: mutex.lock_owned().await,
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for KeyGuard<'_, K> {
    fn drop(&mut self) {
        let mut keys = self.keys.0.lock();
        // The map's, and this guard's: no one else waits.
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
    use crate::store::Key;

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
        assert!(keys.0.lock().is_empty(), "keys are forgotten");
    }
}
