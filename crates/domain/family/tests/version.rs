//! Versions against dpkg itself.

use std::cmp::Ordering;
use std::process::Command;

use kiln_family::deb::Version;
use proptest::prelude::*;

/// Versions that look like real ones, and near misses of each other.
fn version() -> impl Strategy<Value = String> {
    let epoch = prop_oneof![4 => Just(String::new()), 1 => "[0-2]:"];
    let part = "[0-9][0-9a-c.+~]{0,6}";
    let revision = prop_oneof![1 => Just(String::new()), 2 => "-[0-9a-c.+~]{1,4}"];
    (epoch, part, revision).prop_map(|(epoch, part, revision)| format!("{epoch}{part}{revision}"))
}

fn dpkg(a: &str, relation: &str, b: &str) -> bool {
    let status = Command::new("dpkg").args(["--compare-versions", a, relation, b]).status();
    status.expect("this test needs Debian's `dpkg`").success()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn orders_as_dpkg_does(a in version(), b in version()) {
        let relation = match Version::raw(&a).cmp(&Version::raw(&b)) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        prop_assert!(dpkg(&a, relation, &b), "{a} {relation} {b}");
    }

    /// But for a sign before the epoch: dpkg reads `+0:1`, which policy forbids.
    #[test]
    fn accepts_what_dpkg_accepts(text in "[0-9a:~._][0-9a:~+._-]{0,7}") {
        let output = Command::new("dpkg").args(["--validate-version", &text]).output().expect("dpkg");
        prop_assert_eq!(Version::parse(&text).is_ok(), output.status.success(), "{:?}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_a_total_order(a in version(), b in version(), c in version()) {
        let (a, b, c) = (Version::raw(&a), Version::raw(&b), Version::raw(&c));
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }
}
