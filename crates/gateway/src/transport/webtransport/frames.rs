//! Frames out of a sequence of bytes that the network cut anywhere.

use bytes::{Bytes, BytesMut};
use perigee_session::HEADER_LEN;

/// Keeps what came of a frame that is not whole yet: at most one frame, so less than 65 KiB beside
/// what is being pushed.
#[derive(Debug, Default)]
pub(crate) struct WholeFrames {
    rest: BytesMut,
}

impl WholeFrames {
    /// Adds what came and takes all frames that are whole now, which may be none.
    pub(crate) fn push(&mut self, mut bytes: Bytes) -> Bytes {
        if self.rest.is_empty() {
            let frames = bytes.split_to(whole(&bytes));
            // A copy, so that a few bytes do not keep the packets alive that they came in.
            self.rest = BytesMut::from(&bytes[..]);
            return frames;
        }
        self.rest.extend_from_slice(&bytes);
        let frames = self.rest.split_to(whole(&self.rest)).freeze();
        if self.rest.is_empty() {
            self.rest = BytesMut::new();
        }
        frames
    }
}

/// The length of the frames that are whole.
fn whole(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(&[_, _, high, low]) = bytes[end..].first_chunk() {
        let next = end + HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

#[cfg(test)]
mod tests {
    use perigee_session::Frame;

    use super::*;

    fn frames() -> Vec<Vec<u8>> {
        let ping = |t| {
            let mut bytes = Vec::new();
            Frame::Ping { t }.encode(&mut bytes);
            bytes
        };
        let largest = [vec![0, 0, 0xff, 0xff, 0, 0, 0, 0], vec![7; 0xffff]].concat();
        vec![ping(1), ping(2), largest, ping(3)]
    }

    #[test]
    fn frames_come_out_whole_wherever_they_were_cut() {
        let frames = frames();
        let all = frames.concat();
        let near_edges: Vec<usize> = (0..40)
            .chain(all.len() - 40..=all.len())
            .chain([1000, 40_000])
            .collect();
        for &first in &near_edges {
            for &second in near_edges.iter().filter(|&&second| second >= first) {
                let mut cutter = WholeFrames::default();
                let mut out = Vec::new();
                let mut end = 0;
                for piece in [&all[..first], &all[first..second], &all[second..]] {
                    end += piece.len();
                    out.extend_from_slice(&cutter.push(Bytes::copy_from_slice(piece)));
                    // All that are whole by now and nothing else.
                    let mut want = 0;
                    for frame in &frames {
                        if want + frame.len() <= end {
                            want += frame.len();
                        } else {
                            break;
                        }
                    }
                    assert_eq!(out.len(), want, "cut at {first} and {second}");
                }
                assert_eq!(out, all, "cut at {first} and {second}");
                assert_eq!(cutter.rest.capacity(), 0, "nothing is held for nothing");
            }
        }
    }

    #[test]
    fn byte_by_byte() {
        let all = frames().concat();
        let mut cutter = WholeFrames::default();
        let mut out = Vec::new();
        for &byte in &all {
            out.extend_from_slice(&cutter.push(Bytes::from(vec![byte])));
        }
        assert_eq!(out, all);
    }
}
