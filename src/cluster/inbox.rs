//! The receiving end of a channel that outlives who reads it: a controller that is started again reads on.

use std::{fmt, sync::Arc};

use futures::{Stream, stream};
use tokio::sync::{
    Mutex, OwnedMutexGuard,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// The receiving end. Clones are handles on the same; one at a time reads.
pub struct Inbox<T>(Arc<Mutex<UnboundedReceiver<T>>>);

/// Both ends.
pub fn inbox<T>() -> (UnboundedSender<T>, Inbox<T>) {
    let (sender, receiver) = unbounded_channel();
    (sender, Inbox(Arc::new(Mutex::new(receiver))))
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl<T> Inbox<T> {
    /// Reads from now on, as soon as nobody else does.
    pub async fn open(&self) -> OwnedMutexGuard<UnboundedReceiver<T>> {
        Arc::clone(&self.0).lock_owned().await
    }
}

impl<T: Send + 'static> Inbox<T> {
    /// What arrives from now on.
    pub fn stream(self) -> impl Stream<Item = T> + Send + 'static {
        stream::unfold((self, None), |(inbox, open)| async move {
            let mut open = match open {
                Some(open) => open,
                None => inbox.open().await,
            };
            let next = open.recv().await?;
            Some((next, (inbox, Some(open))))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn who_reads_after_another_goes_on_where_that_one_stopped() {
        let (sender, inbox) = inbox();
        for n in 0..3 {
            sender.send(n).unwrap();
        }
        let mut first = Box::pin(inbox.clone().stream());
        assert_eq!(first.next().await, Some(0));
        drop(first);
        drop(sender);
        assert_eq!(inbox.stream().collect::<Vec<_>>().await, [1, 2]);
    }
}
