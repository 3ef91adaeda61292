//! "Did you mean": the known word that is nearest to a misspelt one.

/// The nearest candidate, if the difference looks like a slip: up to two letters, and less than half the word.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST_WORD).collect();
    let near = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.chars().collect();
        (distance(&word, &letters), candidate)
    });
    let (slips, candidate) = near.min_by_key(|&(slips, _)| slips)?;
    (slips <= 2 && slips * 2 < candidate.chars().count()).then_some(candidate)
}

/// Letters to insert, remove, change, or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// No key is longer; bounds the work for a hostile file.
const LONGEST_WORD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = [
            "origins",
            "to",
            "networks",
            "clients",
            "expose_errors",
            "address",
            "tls",
        ];
        let cases = [
            ("origin", Some("origins")),
            ("orgins", Some("origins")),
            ("oirgins", Some("origins")),
            ("adress", Some("address")),
            ("expose_error", Some("expose_errors")),
            ("Networks", Some("networks")),
            ("tsl", Some("tls")),
            ("tp", None),
            ("port", None),
            ("", None),
        ];
        for (word, want) in cases {
            assert_eq!(nearest(word, keys), want, "{word}");
        }
    }
}
