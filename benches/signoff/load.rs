//! Many requests at the same time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};

/// Does `count` things, so many at a time; gives how long it took.
pub async fn at_once<F: Future<Output = ()>>(
    count: usize,
    clients: usize,
    one: impl Fn(usize) -> F,
) -> Duration {
    let began = Instant::now();
    stream::iter(0..count).for_each_concurrent(clients, one).await;
    began.elapsed()
}
