//! Origins, targets and patterns of any text: refused, or read the same way when written again.

use std::{fmt::Display, str::FromStr};

use perigee_gateway::policy::{Origin, OriginPattern, Target};

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    same_again::<Origin>(text);
    same_again::<Target>(text);
    _ = text.parse::<OriginPattern>();
    if let Ok(Some(origin)) = Origin::from_headers(std::iter::once(text.as_bytes())) {
        same_again::<Origin>(&origin.to_string());
    }
}

fn same_again<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let again = written.parse::<T>().ok().map(|value| value.to_string());
        assert_eq!(again.as_deref(), Some(&*written), "{text:?}");
    }
}
