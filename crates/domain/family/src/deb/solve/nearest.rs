//! The known words most like one that nobody knows.

/// Known words in the forms that a search needs, made once for any number of searches.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    /// Sorted.
    words: Vec<String>,
    /// For each length in bytes, the words of it with their letters.
    by_length: Vec<Vec<(Letters, u32)>>,
}

/// Which letters occur and how often; some letters count as one.
#[derive(Clone, Copy, Debug, Default)]
struct Letters {
    which: u32,
    counts: [u8; 32],
}

/// More slips make another word.
const SLIPS: usize = 3;
/// How many words are told.
const TOLD: usize = 3;
/// No word of fewer letters is taken for the beginning of another.
const BEGINNING: usize = 3;

impl Spellings {
    pub fn new<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        let mut by_length = vec![];
        for (at, word) in words.iter().enumerate() {
            if by_length.len() <= word.len() {
                by_length.resize_with(word.len() + 1, Vec::new);
            }
            by_length[word.len()].push((Letters::of(word), at as u32));
        }
        Self { words, by_length }
    }

    /// Returns a hint that names the words nearest to `given`.
    pub fn hint(&self, given: &str) -> Option<String> {
        let names: Vec<String> = self.nearest(given).iter().map(|word| format!("`{word}`")).collect();
        if names.is_empty() { None } else { Some(format!("did you mean {}?", names.join(" or "))) }
    }

    /// Returns the words with the fewest slips from `given`, else those that it is the beginning of.
    pub fn nearest(&self, given: &str) -> Vec<&str> {
        let near = self.misspelt(given);
        if near.is_empty() { self.begun(given) } else { near }
    }

    /// Distances cost much, counts of letters little, and no distance is less than what the counts differ by: so they
    /// say who is measured at all, and in which order.
    fn misspelt(&self, given: &str) -> Vec<&str> {
        let (limit, own) = ((1 + given.len() / 4).min(SLIPS), Letters::of(given));
        let lengths = given.len().saturating_sub(limit)..(given.len() + limit + 1).min(self.by_length.len());
        let mut ranked: Vec<Vec<u32>> = vec![Vec::new(); limit + 1];
        for (other, at) in self.by_length.get(lengths).into_iter().flatten().flatten() {
            if let Some(rank) = own.differ(other, limit) {
                ranked[rank].push(*at);
            }
        }
        let (mut least, mut found) = (limit, Vec::new());
        for (rank, words) in ranked.iter().enumerate() {
            if rank > least {
                break;
            }
            for &at in words {
                let distance = strsim::osa_distance(given, &self.words[at as usize]);
                if distance < least {
                    found.clear();
                    least = distance;
                }
                if distance == least {
                    found.push(at);
                }
            }
        }
        found.sort_unstable();
        found.iter().take(TOLD).map(|&at| self.words[at as usize].as_str()).collect()
    }

    /// Returns the shortest words of which `given` is a beginning.
    fn begun(&self, given: &str) -> Vec<&str> {
        if given.len() < BEGINNING {
            return Vec::new();
        }
        let from = self.words.partition_point(|word| word.as_str() < given);
        let begun = self.words[from..].iter().take_while(|word| word.starts_with(given));
        let mut shortest: Vec<&str> = Vec::with_capacity(TOLD + 1);
        for word in begun {
            shortest.push(word);
            shortest.sort_by_key(|word| (word.len(), *word));
            shortest.truncate(TOLD);
        }
        shortest
    }
}

/// Returns a hint that names the words nearest to one that is not among them.
pub fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    Spellings::new(known).hint(given)
}

impl Letters {
    fn of(word: &str) -> Self {
        let mut letters = Self::default();
        for byte in word.bytes() {
            let letter = byte & 31;
            letters.which |= 1 << letter;
            letters.counts[usize::from(letter)] = letters.counts[usize::from(letter)].saturating_add(1);
        }
        letters
    }

    /// Returns how many letters of one are missing in the other, whichever misses more; every slip mends one at most.
    /// None where it is more than `limit`.
    fn differ(&self, other: &Self, limit: usize) -> Option<usize> {
        let wholly = (self.which & !other.which).count_ones().max((other.which & !self.which).count_ones());
        if wholly as usize > limit {
            return None;
        }
        let missing = |a: &Self, b: &Self| -> u16 {
            a.counts.iter().zip(&b.counts).map(|(a, b)| u16::from(a.saturating_sub(*b))).sum()
        };
        let missing = usize::from(missing(self, other).max(missing(other, self)));
        (missing <= limit).then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(given: &str, words: &str) -> String {
        Spellings::new(words.split(' ')).nearest(given).join(" ")
    }

    #[test]
    fn the_fewest_slips_count_and_else_the_beginning() {
        let words = "vim vlc openssh-server openssh-client openssh-tests libc6 libc6-dev";
        let cases = [
            ("vmi", "vim"),
            ("opnssh-server", "openssh-server"),
            ("openssh-sever", "openssh-server"),
            ("openssh", "openssh-tests openssh-client openssh-server"),
            ("libc", "libc6"),
            ("v", ""),
            ("postgresql", ""),
            ("", ""),
            ("a-name-longer-than-any-that-is-known", ""),
        ];
        cases.iter().for_each(|(given, wanted)| assert_eq!(near(given, words), *wanted, "{given}"));
        assert_eq!(near("vim", ""), "");
    }

    #[test]
    fn counts_of_letters_never_hide_a_near_word() {
        let words: Vec<String> = (0..2000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
        let spellings = Spellings::new(words.iter().map(String::as_str));
        for word in words.iter().step_by(37) {
            let given = format!("{}{}", &word[1..], &word[..1]);
            let limit = (1 + given.len() / 4).min(SLIPS);
            let least =
                words.iter().map(|word| strsim::osa_distance(&given, word)).min().filter(|least| *least <= limit);
            let found = spellings.nearest(&given).first().map(|word| strsim::osa_distance(&given, word));
            assert_eq!(found, least, "{given}");
        }
    }
}
