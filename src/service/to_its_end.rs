//! Work that goes on when whoever waits for it leaves.

use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::runtime::Handle;

/// Runs `work` where it is awaited. If the future is dropped before it has ended, the rest runs as a task of its own:
/// who waits costs no change of tasks, and who leaves breaks nothing off.
///
/// To be awaited within a runtime. When that is shut down, what has not ended is dropped, as every task is.
pub(super) fn to_its_end<W>(work: W) -> impl Future<Output = W::Output>
where
    W: Future<Output: Send> + Send + 'static,
{
    ToItsEnd(Some(Box::pin(work)))
}

/// The rest of the work, if there is any.
struct ToItsEnd<W: Future<Output: Send> + Send + 'static>(Option<Pin<Box<W>>>);

impl<W: Future<Output: Send> + Send + 'static> Future for ToItsEnd<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        // Taken out first: what has panicked has ended.
        let Some(mut work) = self.0.take() else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<W: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<W> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Waker,
    };
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn it_ends_where_it_is_awaited_or_without_anybody() {
        assert_eq!(to_its_end(async { 1 }).await, 1);
        // It has not begun, and it waits for something.
        for polls in 0..2 {
            let go_on = Arc::new(Notify::new());
            let (ends, ended) = oneshot::channel();
            let begun = go_on.clone();
            let work = to_its_end(async move {
                begun.notified().await;
                let _ = ends.send(());
            });
            let mut work = Box::pin(work);
            for _ in 0..polls {
                assert!(futures_util::poll!(work.as_mut()).is_pending());
            }
            drop(work);
            go_on.notify_one();
            ended.await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_has_panicked_is_not_begun_again() {
        let begun = Arc::new(AtomicUsize::new(0));
        let seen = begun.clone();
        let work = to_its_end(async move {
            seen.fetch_add(1, Ordering::SeqCst);
            panic!("as ordered");
        });
        let mut work = Box::pin(work);
        let poll = || work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
        drop(work);
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }
}
