//! Signatures made by gpg, judged by gpgv and by us: we believe nothing that gpgv does not, and say why.

mod gpg;
mod said;

use gpg::{Gpg, T0, day};
use kiln_family::deb::release;
use kiln_family::deb::trust::{self, Error, Keyring, Policy, Verified};
use kiln_model::{Digest, Fault, FaultKind};

/// A release file dated at `T0`.
fn release_text() -> String {
    format!(
        "Origin: Test\nSuite: stable\nDate: {}\nValid-Until: {}\nSHA256:\n {} 5 main/binary-amd64/Packages\n",
        gpg::date(T0),
        gpg::date(T0 + day(7)),
        Digest::of("x"),
    )
}

fn policy(keyring: &Keyring) -> Policy<'_> {
    Policy { keyring, pinned: &[], suite: "stable", now: T0 + day(1), valid_until: true, last_seen: None }
}

/// Judges a clear-signed file both ways; gpgv must agree wherever it has the means to.
fn judge(gpg: &Gpg, keys: &[&str], file: &[u8]) -> (Result<Verified, Error>, bool) {
    let exported = gpg.export(keys);
    let keyring = Keyring::parse(&exported).unwrap();
    (trust::verify(file, &policy(&keyring)), gpg.gpgv(&exported, file, None))
}

#[test]
fn good_signatures_of_every_kind_of_key() {
    let gpg = Gpg::new();
    for kind in ["rsa3072", "ed25519", "nistp256", "nistp384"] {
        let key = gpg.key(kind, kind, "sign", "0");
        let (ours, gpgv) = judge(&gpg, &[&key], &gpg.clearsign(&release_text(), &[&key], &[]));
        let verified = ours.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(gpgv, "{kind}");
        assert_eq!(verified.text, release_text());
        assert_eq!((verified.signers[0].primary.as_str(), verified.signers[0].at), (key.as_str(), T0), "{kind}");
        assert_eq!(verified.release.origin.as_deref(), Some("Test"));
    }
}

#[test]
fn a_subkey_signs_for_its_primary_key() {
    let gpg = Gpg::new();
    let key = gpg.key("subkey", "ed25519", "cert", "0");
    gpg.add_subkey(&key, "ed25519", "sign", "0");
    let (ours, gpgv) = judge(&gpg, &[&key], &gpg.clearsign(&release_text(), &[&key], &[]));
    let signer = &ours.unwrap().signers[0];
    assert!(gpgv && signer.primary == key && signer.fingerprint != key);
}

#[test]
fn one_known_signature_among_several_is_enough() {
    let gpg = Gpg::new();
    let (known, unknown) = (gpg.key("known", "ed25519", "sign", "0"), gpg.key("unknown", "ed25519", "sign", "0"));
    let file = gpg.clearsign(&release_text(), &[&unknown, &known], &[]);
    assert_eq!(judge(&gpg, &[&known], &file).0.unwrap().signers.len(), 1);
    assert_eq!(judge(&gpg, &[&known, &unknown], &file).0.unwrap().signers.len(), 2);
}

#[test]
fn what_is_not_believed_and_why() {
    let gpg = Gpg::new();
    let key = gpg.key("good", "ed25519", "sign", "0");
    let stranger = gpg.key("stranger", "ed25519", "sign", "0");
    let weak = gpg.key("weak", "rsa1024", "sign", "0");
    let dsa = gpg.key("dsa", "dsa2048", "sign", "0");
    let text = release_text();
    let good = String::from_utf8(gpg.clearsign(&text, &[&key], &[])).unwrap();
    let fingerprint = key.clone();
    let block = good.find("-----BEGIN PGP SIGNATURE").unwrap();
    let signed = |who: &str, options: &[&str]| gpg.clearsign(&text, &[who], options);
    let cases: Vec<(&str, Vec<u8>, Error, bool)> = vec![
        ("unknown key", signed(&stranger, &[]), Error::UnknownKey { fingerprint: stranger.clone() }, false),
        (
            "changed text",
            good.replace("Test", "Evil").into(),
            Error::BadSignature { fingerprint: fingerprint.clone() },
            false,
        ),
        (
            "text added",
            good.replace("SHA256:", "Evil: yes\nSHA256:").into(),
            Error::BadSignature { fingerprint: fingerprint.clone() },
            false,
        ),
        ("text before", format!("Origin: Evil\n\n{good}").into(), Error::TextOutside, true),
        ("text after", format!("{good}\nOrigin: Evil\n").into(), Error::TextOutside, true),
        ("twice", format!("{good}{good}").into(), Error::TextOutside, false),
        ("not signed", text.clone().into(), Error::NotClearsigned, false),
        ("empty", Vec::new(), Error::NotClearsigned, false),
        ("cut off", good[..block].into(), Error::NoSignature, false),
        ("SHA-1", signed(&key, &["--digest-algo", "SHA1"]), Error::WeakHash { hash: "SHA1".into() }, true),
        (
            "RSA 1024",
            signed(&weak, &[]),
            Error::WeakKey { fingerprint: weak.clone(), why: "RSA of 1024 bits".into() },
            true,
        ),
        ("DSA", signed(&dsa, &[]), Error::WeakKey { fingerprint: dsa.clone(), why: "DSA".into() }, true),
    ];
    for (what, file, wanted, gpgv_believes) in cases {
        let (ours, gpgv) = judge(&gpg, &[&key, &weak, &dsa], &file);
        assert_eq!(ours.map(|verified| verified.signers), Err(wanted), "{what}");
        assert_eq!(gpgv, gpgv_believes, "gpgv on: {what}");
    }
}

#[test]
fn a_signature_must_fall_into_the_life_of_its_key() {
    let gpg = Gpg::new();
    let key = gpg.key("mortal", "ed25519", "sign", "10d");
    let file = gpg.clearsign(&release_text(), &[&key], &[]);
    judge(&gpg, &[&key], &file).0.unwrap();
    // The key's owner shortens its life to before the signature.
    gpg.expire(&key, T0 - day(1), "seconds=3600");
    let (ours, gpgv) = judge(&gpg, &[&key], &file);
    assert!(matches!(&ours, Err(Error::KeyExpired { fingerprint, .. }) if *fingerprint == key), "{ours:?}");
    assert!(!gpgv);
}

#[test]
fn revoked_keys_sign_nothing() {
    let gpg = Gpg::new();
    let key = gpg.key("revoked", "ed25519", "sign", "0");
    let file = gpg.clearsign(&release_text(), &[&key], &[]);
    judge(&gpg, &[&key], &file).0.unwrap();
    gpg.revoke(&key);
    let (ours, gpgv) = judge(&gpg, &[&key], &file);
    assert_eq!(ours.map(|verified| verified.signers), Err(Error::KeyRevoked { fingerprint: key }));
    assert!(!gpgv);
}

#[test]
fn a_key_for_encryption_or_certification_does_not_sign() {
    let gpg = Gpg::new();
    let key = gpg.key("cert-only", "ed25519", "sign", "0");
    let file = gpg.clearsign(&release_text(), &[&key], &[]);
    gpg.certify_only(&key);
    let (ours, _) = judge(&gpg, &[&key], &file);
    assert_eq!(ours.map(|verified| verified.signers), Err(Error::KeyUnfit { fingerprint: key }));
}

#[test]
fn pins_name_the_only_keys_allowed() {
    let gpg = Gpg::new();
    let (one, other) = (gpg.key("one", "ed25519", "sign", "0"), gpg.key("other", "ed25519", "sign", "0"));
    let keyring = Keyring::parse(&gpg.export(&[&one, &other])).unwrap();
    let file = gpg.clearsign(&release_text(), &[&one], &[]);
    let pinned = |pin: &str| {
        trust::verify(&file, &Policy { pinned: &[pin.to_owned()], ..policy(&keyring) }).map(|verified| verified.signers)
    };
    assert_eq!(pinned(&other), Err(Error::NotPinned { fingerprint: one.clone() }));
    let spaced: String = one.to_lowercase().chars().flat_map(|c| [c, ' ']).collect();
    assert_eq!(pinned(&spaced).unwrap()[0].primary, one);
}

#[test]
fn detached_signatures_armored_and_binary() {
    let gpg = Gpg::new();
    let key = gpg.key("detached", "ed25519", "sign", "0");
    let exported = gpg.export(&[&key]);
    let keyring = Keyring::parse(&exported).unwrap();
    let text = release_text();
    for armor in [true, false] {
        let signature = gpg.detach(&text, &key, armor);
        assert_eq!(trust::verify_detached(text.as_bytes(), &signature, &policy(&keyring)).unwrap().text, text);
        assert!(gpg.gpgv(&exported, &signature, Some(text.as_bytes())));
        let changed = text.replace("Test", "Evil");
        let error = trust::verify_detached(changed.as_bytes(), &signature, &policy(&keyring)).unwrap_err();
        assert_eq!(error, Error::BadSignature { fingerprint: key.clone() });
    }
    let none = trust::verify_detached(text.as_bytes(), b"", &policy(&keyring)).unwrap_err();
    assert_eq!(none, Error::NoSignature);
}

#[test]
fn times_and_rollbacks() {
    let gpg = Gpg::new();
    let key = gpg.key("times", "ed25519", "sign", "0");
    let keyring = Keyring::parse(&gpg.export(&[&key])).unwrap();
    let file = gpg.clearsign(&release_text(), &[&key], &[]);
    let at = |now: i64, valid_until: bool, last_seen: Option<i64>| {
        trust::verify(&file, &Policy { now, valid_until, last_seen, ..policy(&keyring) })
            .map(|verified| verified.release.date)
    };
    let date = Some(T0);
    assert_eq!(at(T0 + day(1), true, None), Ok(date));
    assert_eq!(at(T0 + day(8), true, None), Err(Error::Expired { valid_until: T0 + day(7) }));
    assert_eq!(at(T0 + day(8), false, None), Ok(date));
    assert_eq!(at(T0 - day(1), true, None), Err(Error::NotYetValid { date: T0 }));
    assert_eq!(at(T0 - 60, true, None), Ok(date));
    assert_eq!(at(T0 + day(1), true, Some(T0)), Ok(date));
    assert_eq!(at(T0 + day(1), true, Some(T0 + 1)), Err(Error::Rollback { date: T0, seen: T0 + 1 }));
}

#[test]
fn a_signed_release_file_of_another_suite_is_not_believed() {
    let gpg = Gpg::new();
    let key = gpg.key("suites", "ed25519", "sign", "0");
    let keyring = Keyring::parse(&gpg.export(&[&key])).unwrap();
    let (text, asked) = (release_text(), Policy { suite: "stable-security", ..policy(&keyring) });
    let other = Error::OtherSuite { asked: "stable-security".into(), got: "`stable`".into() };
    let inline = trust::verify(&gpg.clearsign(&text, &[&key], &[]), &asked).unwrap_err();
    let detached = trust::verify_detached(text.as_bytes(), &gpg.detach(&text, &key, true), &asked).unwrap_err();
    assert_eq!((inline, detached), (other.clone(), other));
    trust::unsigned(text.as_bytes(), &asked).expect("nobody vouches for the names of an unsigned repository");
}

#[test]
fn faults_are_upstreams_and_have_a_way_out() {
    let fault = Fault::from(Error::Expired { valid_until: 60 });
    assert_eq!(
        (fault.kind(), fault.to_string().as_str()),
        (FaultKind::Upstream, "the release file was valid until 1970-01-01 00:01:00 UTC")
    );
    assert!(fault.hint_text().unwrap().contains("stale"));
    assert!(matches!(Keyring::parse(b""), Err(Error::Keyring(_))));
}

#[test]
fn armored_keyrings_may_be_several_blocks() {
    let gpg = Gpg::new();
    let keys = [gpg.key("a", "ed25519", "sign", "0"), gpg.key("b", "rsa2048", "sign", "0")];
    let armored: Vec<u8> = keys.iter().flat_map(|key| gpg.export_armored(key)).collect();
    let mut found = Keyring::parse(&armored).unwrap().fingerprints();
    found.sort();
    let mut wanted = keys.to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn keyrings_may_be_gpgs_own_files() {
    let gpg = Gpg::new();
    let (plain, above) = (gpg.key("plain", "ed25519", "sign", "0"), gpg.key("above", "ed25519", "cert", "0"));
    gpg.add_subkey(&above, "ed25519", "sign", "0");
    let revoked = gpg.key("gone", "ed25519", "sign", "0");
    let file = |key: &str| gpg.clearsign(&release_text(), &[key], &[]);
    let files = [(&plain, file(&plain)), (&above, file(&above)), (&revoked, file(&revoked))];
    gpg.revoke(&revoked);
    let ring = gpg.ring(&[&plain, &above, &revoked]);
    assert_ne!(ring, gpg.export(&[&plain, &above, &revoked]));
    let keyring = Keyring::parse(&ring).unwrap();
    for (key, file) in files {
        let judged = trust::verify(&file, &policy(&keyring)).map(|verified| verified.signers[0].primary.clone());
        let revoked = *key == revoked;
        let wanted = if revoked { Err(Error::KeyRevoked { fingerprint: key.clone() }) } else { Ok(key.clone()) };
        assert_eq!((judged, gpg.gpgv(&ring, &file, None)), (wanted, !revoked));
    }
}

/// The release file of this machine's own mirror, against the keyring that kiln carries.
#[test]
fn debians_own_release_file_is_believed() {
    let file = gpg::fetch_in_release("trixie");
    let keyring = Keyring::parse(include_bytes!("../../../../../data/keyrings/debian.pgp")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let policy = Policy { keyring: &keyring, pinned: &[], suite: "trixie", now, valid_until: true, last_seen: None };
    let verified = trust::verify(&file, &policy).unwrap();
    assert_eq!(verified.release.codename.as_deref(), Some("trixie"));
    assert!(verified.release.packages_index("main", "arm64").is_some());
    let (path, entry) = verified.release.packages_index("main", "amd64").unwrap();
    assert_eq!(path, "main/binary-amd64/Packages.xz");
    assert!(release::by_hash_path(&path, entry.sha256).starts_with("main/binary-amd64/by-hash/SHA256/"));
    let ubuntu = Keyring::parse(include_bytes!("../../../../../data/keyrings/ubuntu.pgp")).unwrap();
    assert!(matches!(trust::verify(&file, &Policy { keyring: &ubuntu, ..policy }), Err(Error::UnknownKey { .. })));
    let security = Policy { suite: "trixie-security", ..policy };
    assert!(matches!(trust::verify(&file, &security), Err(Error::OtherSuite { .. })));
}
