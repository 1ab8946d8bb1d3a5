//! What the process has taken from the system and uses no more.
//!
//! A burst, such as the listing at a start, leaves much free memory between little that lives on. The C library keeps it, unless asked; with the
//! few arenas that a process of few threads needs, little is left between them.

use std::time::Duration;

/// Pause between two times that memory is given back. It costs a millisecond or so.
const PAUSE: Duration = Duration::from_secs(10);
/// How many arenas the threads share.
const ARENAS: i32 = 2;

/// Sets the process up. To be called before there is a second thread.
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(
        unsafe_code,
        reason = "it sets a number of the allocator, before anybody else asks it for anything"
    )]
    // an allocator that knows no such option stays as it was
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives memory back from time to time, for as long as it is polled.
pub async fn trim_heap_periodically() {
    loop {
        tokio::time::sleep(PAUSE).await;
        // a panic there would be the allocator's, and the next time may do
        let _ = tokio::task::spawn_blocking(give_back).await;
    }
}

fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(
        unsafe_code,
        reason = "it takes a number of bytes to keep, and touches only what is free"
    )]
    unsafe {
        libc::malloc_trim(0);
    }
}
