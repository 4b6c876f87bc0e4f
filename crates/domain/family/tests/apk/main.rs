//! Alpine's family: versions and worlds against apk's own cases, archives against independent readers.

mod archives;
mod database;
mod worlds;

use std::cmp::Ordering;

use kiln_family::apk::Version;

#[test]
fn versions_order_as_apk_orders_them() {
    for line in include_str!("versions.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [a, sign, b] = words[..] else { panic!("`{line}` is no case") };
        let (one, two) = (Version::raw(a), Version::raw(b));
        let holds = match sign {
            "<" => one.cmp(&two) == Ordering::Less && two.cmp(&one) == Ordering::Greater,
            "=" => one == two,
            "~" => one.begins_with(two),
            "!~" => !one.begins_with(two),
            _ => panic!("`{line}` is no case"),
        };
        assert!(holds, "{line}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn versions_have_a_total_order(
        a in "[0-2](\\.[0-2]{1,2}){0,2}[ab]?(_(rc|p|git)[01]?){0,2}(-r[01])?",
        b in "[0-2](\\.[0-2]{1,2}){0,2}[ab]?(_(rc|p|git)[01]?){0,2}(-r[01])?",
        c in "[0-2](\\.[0-2]{1,2}){0,2}[ab]?(_(rc|p|git)[01]?){0,2}(-r[01])?",
    ) {
        for text in [&a, &b, &c] {
            proptest::prop_assert!(Version::parse(text).is_ok(), "{text}");
            proptest::prop_assert!(Version::raw(text).begins_with(Version::raw(text)));
        }
        proptest::prop_assert_eq!(Version::raw(&a).cmp(&Version::raw(&b)), Version::raw(&b).cmp(&Version::raw(&a)).reverse());
        let _ = c;
    }

    #[test]
    fn nothing_panics(text in "([A-Za-z]:[a-z0-9.=!@~<>-]{0,12}\n|\n){0,12}", bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        kiln_family::apk::index::fuzz(text.as_bytes());
        kiln_family::apk::index::fuzz(&bytes);
        kiln_family::apk::package::fuzz(&bytes);
        let _ = kiln_family::apk::install::installed::parse(text.as_bytes());
        let _ = kiln_family::apk::install::scripts::read(&bytes[..], &mut []);
        let _ = kiln_family::apk::Atom::parse_world(&text);
    }
}
