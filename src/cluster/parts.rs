//! Panics: of a part they are the whole's, of the work on one object they are that object's.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use tokio_util::task::AbortOnDropHandle;

/// Runs the main part with another one in a task beside it, which ends with the main part. A panic of that one is a panic of the whole, so
/// that whoever supervises the whole learns of it.
pub fn beside<P, T>(
    part: impl Future<Output = P> + Send + 'static,
    main: impl Future<Output = T>,
) -> impl Future<Output = T>
where
    P: Send + 'static,
{
    // boxed: both are large
    let (part, mut main) = (Box::pin(part), Box::pin(main));
    async move {
        let part = AbortOnDropHandle::new(tokio::spawn(part));
        tokio::select! {
            done = &mut main => return done,
            ended = part => if let Err(broken) = ended {
                rethrow(broken);
            },
        }
        // it ended in order
        main.await
    }
}

/// Goes on with the panic of a task, unless it was stopped.
pub fn rethrow(broken: tokio::task::JoinError) {
    if let Ok(panic) = broken.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}

/// Does a piece of work; a panic in it is its result.
///
/// # Errors
/// If it panicked, with what was said then.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|panic| said(&*panic))
}

/// What a panic said, as far as it is a text.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_breaks_the_whole() {
        let whole = beside(async { panic!("a part broke") }, std::future::pending::<()>());
        assert_eq!(caught(whole).await, Err("a part broke".to_owned()));
    }

    #[tokio::test]
    async fn a_part_that_ends_ends_nothing_and_one_that_goes_on_ends_with_the_main_part() {
        assert_eq!(
            beside(async {}, async {
                tokio::task::yield_now().await;
                1
            })
            .await,
            1
        );
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let part = async move {
            let _held = sender;
            std::future::pending::<()>().await;
        };
        assert_eq!(beside(part, async { 2 }).await, 2);
        assert_eq!(receiver.recv().await, None);
    }
}
