//! Panics of tasks that nobody waits for, such as a session's, which the gateway survives on purpose.

use std::{cell::RefCell, sync::Once};

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers panics for the thread they are on, and prints none.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some(crate::THREAD) {
                FIRST.with_borrow_mut(|first| {
                    first.get_or_insert_with(|| format!("panic: {info}"));
                });
            } else {
                usual(info);
            }
        }));
    });
}

/// The first panic on this thread since it was asked last.
pub(crate) fn take() -> Option<String> {
    FIRST.take()
}
