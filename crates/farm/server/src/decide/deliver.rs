//! What becomes of a delivery after an attempt.

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    /// Nobody answered, or nobody may be asked there.
    Failed(String),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Once more, not before then.
    Again(i64),
    GivenUp,
}

/// The pause after the first attempt, milliseconds; each time it is thrice as long.
const PAUSE: i64 = 5_000;
/// Longest pause.
const LONGEST: i64 = 3 * 3600 * 1000;
/// After so many attempts, which is about a day, it is given up.
const ATTEMPTS: u32 = 15;

/// Judges an attempt, the `attempts`th.
pub fn judge(attempts: u32, outcome: &Outcome, now: i64) -> Verdict {
    match outcome {
        Outcome::Answered(200..300) => Verdict::Delivered,
        // Whoever is there says that nobody is to ask again.
        Outcome::Answered(410) => Verdict::GivenUp,
        _ if attempts >= ATTEMPTS => Verdict::GivenUp,
        _ => Verdict::Again(now + PAUSE.saturating_mul(3_i64.saturating_pow(attempts.saturating_sub(1))).min(LONGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_it_is_taken() {
        let failed = || Outcome::Failed("nobody there".into());
        let cases = [
            (1, Outcome::Answered(200), Verdict::Delivered),
            (ATTEMPTS, Outcome::Answered(204), Verdict::Delivered),
            (1, Outcome::Answered(410), Verdict::GivenUp),
            (1, Outcome::Answered(302), Verdict::Again(5_100)),
            (1, Outcome::Answered(500), Verdict::Again(5_100)),
            (2, failed(), Verdict::Again(15_100)),
            (3, failed(), Verdict::Again(45_100)),
            (14, failed(), Verdict::Again(100 + LONGEST)),
            (ATTEMPTS, failed(), Verdict::GivenUp),
        ];
        for (attempts, outcome, wanted) in cases {
            assert_eq!(judge(attempts, &outcome, 100), wanted, "{attempts} {outcome:?}");
        }
    }
}
