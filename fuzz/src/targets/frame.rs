//! The frame decoder on any bytes: frames or an error, and each frame is what its encoding decodes to.

use perigee_session::Frame;

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(input: &[u8]) {
    let mut rest = input;
    loop {
        let before = rest.len();
        match Frame::decode(&mut rest) {
            Ok(Some(frame)) => {
                assert!(rest.len() < before, "a frame of no bytes");
                let mut encoded = Vec::new();
                frame.encode(&mut encoded);
                let mut again = &encoded[..];
                assert_eq!(Frame::decode(&mut again), Ok(Some(frame)));
                assert!(again.is_empty(), "{} bytes are left", again.len());
            }
            Ok(None) | Err(_) => return,
        }
    }
}
