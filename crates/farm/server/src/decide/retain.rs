//! Which builds a project lets go, and which blobs nobody needs then.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use kiln_farm_api::retention::Retention;
use kiln_farm_api::{BuildId, BuildState};
use kiln_model::Digest;

/// A day, milliseconds.
pub const DAY: i64 = 24 * 3600 * 1000;
/// How long a blob that nobody needs stays: somebody may be about to submit what was uploaded for it.
pub const GRACE: i64 = DAY;

/// An ended build as far as it matters whether it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: BuildId,
    pub state: BuildState,
    pub ended: i64,
    pub pinned: bool,
    /// Whether a schedule submits it again.
    pub again: bool,
}

/// Returns the builds of a project that its rules do not keep, the newest first.
pub fn over(builds: &[Ended], rules: &Retention, now: i64) -> Vec<Ended> {
    let mut loose: Vec<Ended> =
        builds.iter().filter(|build| build.state.is_final() && !build.pinned).copied().collect();
    loose.sort_by_key(|build| Reverse((build.ended, build.id)));
    let mut well = 0;
    loose.retain(|build| {
        let rank = well;
        well += u32::from(build.state == BuildState::Done);
        !build.again && !keeps(build, rank, rules, now)
    });
    loose
}

/// Whether the rules keep a build that so many others of its project ended well after.
fn keeps(build: &Ended, rank: u32, rules: &Retention, now: i64) -> bool {
    let younger = |days: u32| now - build.ended < i64::from(days) * DAY;
    if build.state != BuildState::Done {
        return rules.failed_days.is_none_or(younger);
    }
    match (rules.builds, rules.days) {
        (None, None) => true,
        (builds, days) => builds.is_some_and(|builds| rank < builds) || days.is_some_and(younger),
    }
}

/// A blob, when it was asked for last, and the builds that have it as artifact or bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
    pub used: i64,
    pub builds: BTreeSet<BuildId>,
}

/// Whether nobody needs a blob once some builds are gone.
pub fn unneeded(blob: &Blob, gone: &BTreeSet<BuildId>, now: i64) -> bool {
    blob.used < now - GRACE && blob.builds.is_subset(gone)
}

/// A stage that nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    pub id: Digest,
    pub sha256: Digest,
    pub size: u64,
    pub used: i64,
}

/// Returns the stages that go so that the rest has `limit` bytes at most: those used longest ago.
pub fn too_many(mut stages: Vec<Shared>, limit: u64) -> Vec<Shared> {
    stages.sort_by_key(|stage| Reverse((stage.used, stage.id)));
    let mut kept = 0_u64;
    stages.retain(|stage| {
        kept = kept.saturating_add(stage.size);
        kept > limit
    });
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: i64 = 100 * DAY;

    #[test]
    fn stages_used_longest_ago_go() {
        let stage = |name: &str, size, used| Shared { id: Digest::of(name), sha256: Digest::of(name), size, used };
        let (old, new, big) = (stage("old", 10, 1), stage("new", 10, 3), stage("big", 100, 2));
        for (limit, gone) in
            [(120, vec![]), (119, vec![old]), (110, vec![old]), (109, vec![big, old]), (0, vec![new, big, old])]
        {
            assert_eq!(too_many(vec![old, big, new], limit), gone, "{limit}");
        }
    }

    fn id(number: u128) -> BuildId {
        BuildId(Uuid::from_u128(number))
    }

    fn ended(number: u128, state: BuildState, days_ago: i64) -> Ended {
        Ended { id: id(number), state, ended: NOW - days_ago * DAY, pinned: false, again: false }
    }

    /// 1 to 4 ended well, a day apart; 5 failed, 6 was cancelled; 7 is a release, 8 runs.
    fn builds() -> Vec<Ended> {
        vec![
            ended(1, BuildState::Done, 1),
            ended(2, BuildState::Done, 2),
            ended(3, BuildState::Done, 3),
            ended(4, BuildState::Done, 4),
            ended(5, BuildState::Failed, 2),
            ended(6, BuildState::Cancelled, 5),
            Ended { pinned: true, ..ended(7, BuildState::Done, 50) },
            ended(8, BuildState::Running, 50),
        ]
    }

    #[test]
    fn what_rules_let_go() {
        let cases: &[(Option<u32>, Option<u32>, Option<u32>, &[u128])] = &[
            (None, None, None, &[]),
            (Some(2), None, None, &[3, 4]),
            (Some(0), None, None, &[1, 2, 3, 4]),
            (Some(9), None, None, &[]),
            (None, Some(3), None, &[3, 4]),
            (Some(1), Some(3), None, &[3, 4]),
            (Some(3), Some(2), None, &[4]),
            (None, None, Some(3), &[6]),
            (None, None, Some(0), &[5, 6]),
            (Some(0), Some(0), Some(0), &[1, 2, 5, 3, 4, 6]),
        ];
        for (count, days, failed_days, wanted) in cases {
            let rules = Retention { builds: *count, days: *days, failed_days: *failed_days };
            let gone: Vec<u128> = over(&builds(), &rules, NOW).iter().map(|build| build.id.0.as_u128()).collect();
            let mut wanted = wanted.to_vec();
            wanted.sort_by_key(|number| {
                builds().iter().find(|build| build.id == id(*number)).map(|one| (Reverse(one.ended), Reverse(one.id)))
            });
            assert_eq!(gone, wanted, "{rules:?}");
        }
    }

    #[test]
    fn what_a_schedule_submits_again_stays_and_counts() {
        let rules = Retention { builds: Some(1), days: None, failed_days: Some(1) };
        let again = |number: u128| {
            let again = |build: Ended| Ended { again: build.id == id(number), ..build };
            let builds: Vec<Ended> = builds().into_iter().map(again).collect();
            over(&builds, &rules, NOW).iter().map(|build| build.id.0.as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(again(9), [5, 2, 3, 4, 6].to_vec());
        assert_eq!(again(1), [5, 2, 3, 4, 6].to_vec());
        assert_eq!(again(5), [2, 3, 4, 6].to_vec());
        assert_eq!(again(3), [5, 2, 4, 6].to_vec());
    }

    #[test]
    fn a_blob_goes_when_nobody_needs_it() {
        let blob = |used, builds: &[u128]| Blob {
            digest: Digest::of("blob"),
            size: 1,
            used,
            builds: builds.iter().copied().map(id).collect(),
        };
        let gone = [id(1), id(2)].into();
        let (old, young) = (NOW - GRACE - 1, NOW - GRACE);
        for (used, builds, wanted) in [
            (old, &[][..], true),
            (old, &[1], true),
            (old, &[1, 2], true),
            (old, &[1, 3], false),
            (young, &[], false),
            (young, &[1], false),
        ] {
            assert_eq!(unneeded(&blob(used, builds), &gone, NOW), wanted, "{used} {builds:?}");
        }
    }
}
