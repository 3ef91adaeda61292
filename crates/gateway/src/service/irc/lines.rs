//! Lines out of a byte stream, as they are: what a line means is for others.

/// Takes bytes as they come and gives one line at a time, without its end.
///
/// Invariant: never longer than `max`; a line that is gives one error and is passed over.
#[derive(Debug)]
pub(super) struct Lines {
    max: usize,
    line: Vec<u8>,
    /// Behind the error for a line that was too long, before its LF.
    skipping: bool,
}

/// A line is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            skipping: false,
        }
    }

    /// Takes bytes off the front of `input` up to the end of a line. Empty lines are none.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Result<Vec<u8>, TooLong>> {
        while !input.is_empty() {
            let end = input.iter().position(|&byte| byte == b'\n');
            let (bytes, rest) = input.split_at(end.unwrap_or(input.len()));
            *input = rest.get(1..).unwrap_or_default();
            if self.skipping {
                self.skipping = end.is_none();
                continue;
            }
            // One byte more may turn out to be the CR of the line's end.
            if self.line.len() + bytes.len() > self.max + 1 {
                self.line = Vec::new();
                self.skipping = end.is_none();
                return Some(Err(TooLong));
            }
            self.line.extend_from_slice(bytes);
            if end.is_none() {
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.len() > self.max {
                return Some(Err(TooLong));
            }
            if !line.is_empty() {
                return Some(Ok(line));
            }
        }
        None
    }

    /// Bytes of a line that is not whole yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.line.len()
    }
}

/// The tags of a line, with `@` and the space behind them, and the rest.
pub(super) fn split_tags(line: &[u8]) -> (&[u8], &[u8]) {
    let end = match line.first() {
        Some(b'@') => line
            .iter()
            .position(|&byte| byte == b' ')
            .map_or(line.len(), |at| at + 1),
        _ => 0,
    };
    line.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(max: usize, pieces: &[&[u8]]) -> Vec<Result<String, TooLong>> {
        let mut lines = Lines::new(max);
        let mut out = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(line) = lines.next(&mut input) {
                out.push(line.map(|line| String::from_utf8_lossy(&line).into_owned()));
            }
            assert!(lines.held_bytes() <= max + 1);
        }
        out
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let input = b"PING a\r\nPING b\n\r\n\n12345678\r\n123456789\r\n123456789\nlast\r\nrest";
        let whole = all(8, &[input]);
        let want = ["PING a", "PING b", "12345678", "-", "-", "last"];
        let shown: Vec<_> = whole
            .iter()
            .map(|line| line.as_deref().unwrap_or("-"))
            .collect();
        assert_eq!(shown, want);
        for at in 0..input.len() {
            let (a, b) = input.split_at(at);
            assert_eq!(all(8, &[a, b]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(all(8, &bytes), whole);
    }

    #[test]
    fn tags_are_split_off() {
        for (line, tags, rest) in [
            ("PING x", "", "PING x"),
            ("@a=b PING x", "@a=b ", "PING x"),
            ("@a=b", "@a=b", ""),
            ("", "", ""),
        ] {
            let want = (tags.as_bytes(), rest.as_bytes());
            assert_eq!(split_tags(line.as_bytes()), want, "{line}");
        }
    }
}
