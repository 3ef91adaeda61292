//! Waiting for conditions.

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// After this a condition that did not come is a failure. It is long because the machine may be
/// busy: no test is about speed.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that tells nobody when it changes, such as a file in `/proc`.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until `look` finds something.
///
/// # Panics
///
/// When the deadline passes, with `what` was waited for.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        sleep(LOOK).await;
    }
}

/// Looks until `look` sees `want`.
///
/// # Panics
///
/// When the deadline passes, with what was seen last.
pub async fn until_eq<T: PartialEq + Debug>(want: T, mut look: impl FnMut() -> T) {
    let started = Instant::now();
    loop {
        let seen = look();
        if seen == want {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "waited for {want:?}, still {seen:?}"
        );
        sleep(LOOK).await;
    }
}

/// Looks until `look` sees no more than `most`.
///
/// # Panics
///
/// When the deadline passes, with what was seen last.
pub async fn until_at_most<T: PartialOrd + Debug>(most: T, mut look: impl FnMut() -> T) {
    let started = Instant::now();
    loop {
        let seen = look();
        if seen <= most {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "waited for at most {most:?}, still {seen:?}"
        );
        sleep(LOOK).await;
    }
}

/// Waits for a future that must not take for ever.
///
/// # Panics
///
/// When the deadline passes.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
