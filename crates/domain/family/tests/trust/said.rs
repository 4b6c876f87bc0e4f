//! What keys say of themselves under their user ids, and others of them: the newest of a key's own words counts, unless
//! it took them back.

use kiln_family::deb::trust::{self, Error, Keyring};
use kiln_testkit::{Key, Says};

use super::gpg::{Gpg, T0, day};
use super::{policy, release_text};

/// When the keys are made.
const MADE: i64 = T0 - day(9);

const FOREVER: Says = Says::Mine { sign: true, life: None };
/// Until two days before the release file is signed.
const EXPIRED: Says = Says::Mine { sign: true, life: Some(7 * 86_400) };
const CERTIFY_ONLY: Says = Says::Mine { sign: false, life: None };

/// Who says it.
enum By {
    Itself,
    Stranger,
}
use By::{Itself, Stranger};

#[derive(Debug, PartialEq)]
enum Judged {
    Good,
    Expired,
    Unfit,
}
use Judged::{Expired, Good, Unfit};

/// Who says what under which user id, and how many days after the key was made.
type Said = (By, &'static str, Says, i64);

/// What was said, and how a signature of the primary key and one of its subkey are judged.
///
/// Where the only user id is revoked gpgv believes the key, and no longer sees that it expired.
const CASES: &[(&str, &[Said], Judged, Judged)] = &[
    ("its own word", &[(Itself, "a", FOREVER, 0)], Good, Good),
    ("expired", &[(Itself, "a", EXPIRED, 0)], Expired, Expired),
    ("nothing", &[], Unfit, Unfit),
    ("the only user id revoked", &[(Itself, "a", FOREVER, 0), (Itself, "a", Says::Revoked, 1)], Unfit, Unfit),
    ("expired, the only user id revoked", &[(Itself, "a", EXPIRED, 0), (Itself, "a", Says::Revoked, 8)], Unfit, Unfit),
    (
        "expired, an old user id revoked",
        &[(Itself, "a", EXPIRED, 0), (Itself, "b", EXPIRED, 1), (Itself, "a", Says::Revoked, 8)],
        Expired,
        Expired,
    ),
    (
        "the newer word under a revoked user id",
        &[(Itself, "a", EXPIRED, 0), (Itself, "b", FOREVER, 1), (Itself, "b", Says::Revoked, 2)],
        Expired,
        Expired,
    ),
    (
        "the user id that expired is the revoked one",
        &[(Itself, "a", FOREVER, 0), (Itself, "b", EXPIRED, 1), (Itself, "b", Says::Revoked, 2)],
        Good,
        Good,
    ),
    (
        "a user id taken up again",
        &[(Itself, "a", EXPIRED, 0), (Itself, "a", Says::Revoked, 1), (Itself, "a", FOREVER, 2)],
        Good,
        Good,
    ),
    (
        "certifies only, a user id revoked",
        &[(Itself, "a", CERTIFY_ONLY, 0), (Itself, "b", CERTIFY_ONLY, 0), (Itself, "b", Says::Revoked, 1)],
        Unfit,
        Good,
    ),
    ("a stranger's word is newer", &[(Itself, "a", EXPIRED, 0), (Stranger, "a", FOREVER, 1)], Expired, Expired),
    ("a stranger says that it signs", &[(Itself, "a", CERTIFY_ONLY, 0), (Stranger, "a", FOREVER, 1)], Unfit, Good),
    ("a stranger says that it expired", &[(Itself, "a", FOREVER, 0), (Stranger, "a", EXPIRED, 1)], Good, Good),
    ("a stranger revokes", &[(Itself, "a", FOREVER, 0), (Stranger, "a", Says::Revoked, 1)], Good, Good),
    ("only a stranger's word", &[(Stranger, "a", FOREVER, 1)], Unfit, Unfit),
];

fn judge(gpg: &Gpg, said: &[Said], subkey: bool) -> (Judged, bool) {
    let (mut key, stranger) = (Key::silent(MADE, subkey), Key::new());
    for (by, user, says, days) in said {
        match by {
            Itself => key.say(user, *says, MADE + day(*days)),
            Stranger => key.hear(&stranger, user, *says, MADE + day(*days)),
        }
    }
    let (keyring, file) = (key.keyring(), key.sign_inline_at(&release_text(), T0));
    let judged = match trust::verify(file.as_bytes(), &policy(&Keyring::parse(&keyring).unwrap())) {
        Ok(_) => Good,
        Err(Error::KeyExpired { .. }) => Expired,
        Err(Error::KeyUnfit { .. }) => Unfit,
        Err(error) => panic!("{error}"),
    };
    (judged, gpg.gpgv(&keyring, file.as_bytes(), None))
}

#[test]
fn a_keys_own_newest_word_counts_unless_it_was_taken_back() {
    let gpg = Gpg::new();
    for (what, said, of_primary, of_subkey) in CASES {
        for (wanted, subkey) in [(of_primary, false), (of_subkey, true)] {
            let (judged, gpgv) = judge(&gpg, said, subkey);
            assert_eq!(&judged, wanted, "{what}, subkey: {subkey}");
            assert!(gpgv || judged != Good, "gpgv on: {what}, subkey: {subkey}");
        }
    }
}
