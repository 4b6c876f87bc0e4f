//! The archives of a release and of `[[base.repository]]`: mirrors, suites, trust.

use kiln_model::Arch;

use super::base::Ground;
use crate::armour;
use crate::catalogue::release::{self, Archive};
use crate::desk::{Desk, Note};
use crate::forms::{ARMOUR, COMPONENT, FINGERPRINT, LOCAL_PATH, NAME, SUITE, URI, stamp};
use crate::shape::{Shape, Table, did_you_mean, key};
use crate::spec::{Family, Repository, Trust};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[[base.repository]]",
    doc: "A further package repository. It must be signed by keys that the recipe brings, unless it says `unsigned = true`.",
    keys: &[
        key("name", Shape::Text(&NAME), "Its name, for messages, the lock and the file in the image's sources.")
            .here()
            .example("\"vendor\""),
        key(
            "uri",
            Shape::Either(&[Shape::Text(&URI), Shape::List(&Shape::Text(&URI))]),
            "Its address; several are mirrors of each other. `KILN_MIRROR_<NAME>` in the environment comes before them.",
        )
        .here()
        .example("\"https://packages.example.org/debian\"")
        .replaces(),
        key("suite", Shape::Text(&SUITE), "Its suite; of an Alpine repository, the folder that follows the address.")
            .default("the release's codename; none for Alpine").example("\"stable\""),
        key("components", Shape::List(&Shape::Text(&COMPONENT)), "Its components.").default("[\"main\"]; none for Alpine").replaces(),
        key(
            "key",
            Shape::Either(&[Shape::Text(&LOCAL_PATH), Shape::List(&Shape::Text(&LOCAL_PATH))]),
            "A file with the public keys it is signed with, armoured or binary; or several.",
        )
        .replaces(),
        key("keys", Shape::Text(&ARMOUR), "The armoured public keys themselves."),
        key(
            "fingerprints",
            Shape::List(&Shape::Text(&FINGERPRINT)),
            "Which of those keys count; all when it is absent.",
        ),
        key("unsigned", Shape::Bool, "The explicit word for a repository that nobody signs.").default("false"),
        key("priority", Shape::Integer { from: -32768, to: 32767 }, "Its pin priority, as in apt_preferences(5).")
            .default("500"),
        key("in-image", Shape::Bool, "Whether the image's own sources name it.").default("true"),
    ],
    more: None,
};

/// What locks call the packages beside the recipe, the archive of kiln's own tools, and the tree that is built upon.
const RESERVED: [&str; 3] = ["local", "tools", "tree"];

/// Returns every repository: the release's, then the recipe's.
pub fn all(base: View<'_>, ground: &Ground, foreign: &[Arch], desk: &Desk<'_>) -> Vec<Repository> {
    check_components(base, ground, desk);
    let architectures: Vec<Arch> = std::iter::once(ground.architecture).chain(foreign.iter().copied()).collect();
    let mut all: Vec<Repository> = used(base, ground)
        .map(|archive| Repository { architectures: architectures.clone(), ..of_release(archive, base, ground, desk) })
        .collect();
    let mut said: Vec<Said<&str>> = Vec::new();
    for view in base.tables("repository") {
        let Some(name) = view.text("name") else { continue };
        if all.iter().any(|repository| repository.name == name.value) {
            let note = Note::error(name.span, "duplicate", format!("there already is a repository `{}`", name.value));
            let first = said.iter().find(|said| said.value == name.value);
            desk.say(match first {
                Some(first) => note.also(first.span, "first here"),
                None => note.label("one of the distribution's own"),
            });
        }
        if RESERVED.contains(&name.value) {
            let message = format!("no repository can be called `{}`", name.value);
            desk.say(
                Note::error(name.span, "bad-value", message).label("kiln's own word for another place of packages"),
            );
        }
        said.push(name);
        all.push(of_recipe(view, name, ground, &architectures, desk));
    }
    all
}

/// Returns the release's archives that the recipe's switches let through.
fn used(base: View<'_>, ground: &Ground) -> impl Iterator<Item = &'static Archive> {
    let switches: Vec<(&str, bool)> = vec![
        ("security", base.bool("security").unwrap_or(true)),
        ("updates", base.bool("updates").unwrap_or(true)),
        ("backports", base.bool("backports").unwrap_or(false)),
    ];
    let on = move |archive: &&Archive| match archive.option.as_deref() {
        Some(option) => switches.iter().any(|(name, on)| *name == option && *on),
        None => true,
    };
    ground.release.repositories_for(ground.architecture).filter(on)
}

fn check_components(base: View<'_>, ground: &Ground, desk: &Desk<'_>) {
    let known = &ground.release.known_components;
    for said in base.texts("components").iter().filter(|said| !known.iter().any(|known| known == said.value)) {
        let message = format!("{} has no component `{}`", ground.release.title, said.value);
        let hint = did_you_mean(said.value, known.iter().map(String::as_str));
        desk.say(Note::error(said.span, "bad-value", message).maybe_hint(hint));
    }
}

fn of_release(archive: &Archive, base: View<'_>, ground: &Ground, desk: &Desk<'_>) -> Repository {
    let snapshot = base.text("snapshot").and_then(|said| stamp(said.value));
    let keys = release_keys(base, desk).filter(|_| speaks_for(archive, base, ground));
    let own = base.strings("components");
    let usual = || {
        let mut usual = archive.components.clone().unwrap_or_else(|| ground.release.components.clone());
        let firmware = ground.firmware_components();
        usual.extend(
            firmware.into_iter().filter(|one| archive.components.is_none() && !ground.release.components.contains(one)),
        );
        usual
    };
    let uris = match (&snapshot, &archive.snapshots) {
        (Some(stamp), Some(snapshots)) => vec![format!("{snapshots}/{stamp}")],
        _ => mirrors(archive, base, ground, desk),
    };
    let check_valid_until = snapshot.is_none() && base.bool("check-valid-until").unwrap_or(true);
    Repository {
        name: archive.name.clone(),
        uris,
        uri_in_image: in_image(archive, base, ground),
        suite: archive.suite.clone(),
        components: if own.is_empty() || archive.components.is_some() { usual() } else { own },
        architectures: Vec::new(),
        signed_by: Some(keys.as_ref().map_or_else(|| archive.signed_by.clone(), |_| key_path("base", base, ground))),
        trust: keys.unwrap_or_else(|| Trust::Keyring(archive.keyring.clone())),
        priority: archive.priority,
        check_valid_until,
        snapshot,
        in_image: true,
    }
}

/// Whether the recipe's keys are those of an archive: of all in the release, or where kiln lacks the keys of some, of these.
fn speaks_for(archive: &Archive, base: View<'_>, ground: &Ground) -> bool {
    let brought = |archive: &Archive| crate::catalogue::has_keyring(&archive.keyring);
    !brought(archive) || used(base, ground).all(brought)
}

/// Returns the keys that the recipe brings for the distribution's own archive.
fn release_keys(base: View<'_>, desk: &Desk<'_>) -> Option<Trust> {
    let fingerprints = fingerprints(base);
    if let (Some(span), false) = (base.key_span("fingerprints"), base.has("key")) {
        desk.say(Note::error(span, "contradiction", "`fingerprints` without `key`"));
    }
    key_file(base, desk).map(|armored| Trust::Keys { armored, fingerprints })
}

/// Says whose archive nobody here can check.
pub fn check_keyrings(base: View<'_>, ground: &Ground, desk: &Desk<'_>) {
    let missing = used(base, ground).find(|archive| !crate::catalogue::has_keyring(&archive.keyring));
    if let (Some(_), false) = (missing, base.has("key")) {
        let message = format!("kiln does not bring the keys of {}", ground.release.title);
        let span = base.text("release").map_or(base.span, |said| said.span);
        let hint = format!(
            "take them from its package `{}` and say key = \"FILE\" in `[base]`",
            ground.release.keyring_package
        );
        desk.say(Note::error(span, "no-keyring", message).hint(hint));
    }
}

/// Says what cannot be with `snapshot`.
pub fn check_snapshot(base: View<'_>, ground: &Ground, desk: &Desk<'_>) {
    let Some(snapshot) = base.text("snapshot") else { return };
    if let Some(archive) = used(base, ground).find(|archive| archive.snapshots.is_none()) {
        let message = format!("nobody keeps old states of `{}` of {}", archive.name, ground.release.title);
        desk.say(Note::error(snapshot.span, "contradiction", message).hint("the lock pins packages without it"));
    }
    if let Some(mirror) = base.key_span("mirror") {
        let note = Note::error(snapshot.span, "contradiction", "`snapshot` and `mirror` cannot both be");
        desk.say(note.also(mirror, "said here").hint("for a mirror that keeps that day itself, leave `snapshot` out"));
    }
}

/// Returns the mirrors to try: the recipe's, the environment's, the host's own, the default.
fn mirrors(archive: &Archive, base: View<'_>, ground: &Ground, desk: &Desk<'_>) -> Vec<String> {
    let recipe = recipe_mirrors(archive, base, ground);
    if !recipe.is_empty() {
        return recipe;
    }
    let options = desk.options;
    let environment = |name: &str| options.mirrors.get(name).cloned().unwrap_or_default();
    let mut found = environment(&archive.mirror);
    if let (true, Some(main)) = (found.is_empty(), archive.mirror.strip_suffix("-security")) {
        found = environment(main).iter().filter_map(|uri| beside(uri)).collect();
    }
    if found.is_empty() {
        found = host_mirrors(archive, desk);
    }
    found.extend(archive.uris.iter().cloned());
    unique(found)
}

/// The recipe's `mirror` serves what the release's first archive serves, and security from beside it.
fn recipe_mirrors(archive: &Archive, base: View<'_>, ground: &Ground) -> Vec<String> {
    let trimmed = |key: &str| -> Vec<String> {
        base.texts(key).iter().map(|said| said.value.trim_end_matches('/').to_owned()).collect()
    };
    let first = ground.release.repositories_for(ground.architecture).next().map(|first| first.mirror.as_str());
    if first == Some(archive.mirror.as_str()) {
        return trimmed("mirror");
    }
    let security = archive.mirror.strip_suffix("-security").is_some_and(|main| first == Some(main));
    match (security, trimmed("security-mirror"), trimmed("mirror")) {
        (true, own, _) if !own.is_empty() => own,
        (true, _, mirror) if !mirror.is_empty() => {
            unique(mirror.iter().filter_map(|uri| beside(uri)).chain(archive.uris.iter().cloned()).collect())
        }
        _ => Vec::new(),
    }
}

/// Returns the host's own mirrors of an archive, when the host runs that distribution and the archive serves the host too.
fn host_mirrors(archive: &Archive, desk: &Desk<'_>) -> Vec<String> {
    let (distribution, security) = match archive.mirror.strip_suffix("-security") {
        Some(main) => (main, true),
        None => (archive.mirror.as_str(), false),
    };
    let serves_host = archive.architectures.is_empty() || archive.architectures.contains(&desk.options.host_arch);
    let serves_all = release::all().iter().any(|release| release.distribution == distribution && release.serves_all());
    let same = |source: &&crate::HostSource| {
        source.distribution == distribution && source.suite.ends_with("-security") == security
    };
    let own = desk.options.host_sources.iter().filter(same);
    let uris = own.map(|source| source.uri.trim_end_matches('/').to_owned());
    if serves_host || serves_all { unique(uris.collect()) } else { Vec::new() }
}

/// Mirrors keep `debian-security` beside `debian`.
fn beside(uri: &str) -> Option<String> {
    let uri = uri.trim_end_matches('/');
    uri.ends_with("/debian").then(|| format!("{uri}-security"))
}

fn unique(uris: Vec<String>) -> Vec<String> {
    let mut seen = Vec::with_capacity(uris.len());
    uris.into_iter().for_each(|uri| {
        if !seen.contains(&uri) {
            seen.push(uri)
        }
    });
    seen
}

/// The image goes to the distribution's own mirror, unless the recipe names one that it can reach.
fn in_image(archive: &Archive, base: View<'_>, ground: &Ground) -> String {
    let first = ground.release.repositories_for(ground.architecture).next().map(|first| first.mirror.as_str());
    let main = first == Some(archive.mirror.as_str());
    let own = base.string("mirror-in-image").map(|uri| uri.trim_end_matches('/').to_owned());
    if own.is_some() && !main {
        let security = archive.mirror.strip_suffix("-security").is_some_and(|main| first == Some(main));
        return own.filter(|_| security).and_then(|uri| beside(&uri)).unwrap_or_else(|| archive.uris[0].clone());
    }
    let recipe = || recipe_mirrors(archive, base, ground).into_iter().find(|uri| !uri.starts_with("file:"));
    own.or_else(recipe).unwrap_or_else(|| archive.uris[0].clone())
}

fn of_recipe(view: View<'_>, name: Said<&str>, ground: &Ground, architectures: &[Arch], desk: &Desk<'_>) -> Repository {
    let own: Vec<String> = view.texts("uri").iter().map(|said| said.value.trim_end_matches('/').to_owned()).collect();
    // An address with credentials is in the environment, never in the recipe. What is there for a distribution is not meant
    // for a repository that happens to have its name.
    let key = name.value.to_lowercase().replace('_', "-");
    let taken = release::all().iter().flat_map(release::Release::mirrors).any(|name| name == key);
    let environment = desk.options.mirrors.get(&key).filter(|_| !taken).cloned();
    let trust = trust(view, name, desk);
    let apk = ground.release.family == Family::Apk;
    if let (true, Some(span)) = (apk, view.key_span("keys")) {
        let note = Note::error(span, "contradiction", "apk finds a key by the name of its file");
        desk.say(note.hint("put it into a file of that name, and say key = \"NAME.rsa.pub\""));
    }
    let signed_by = matches!(trust, Trust::Keys { .. }).then(|| key_path(name.value, view, ground));
    let (components, suite) = (view.strings("components"), view.string("suite"));
    // What is an address and nothing more is one list of packages to apk.
    let (usual_suite, usual_components) = match apk {
        true => (String::new(), vec![]),
        false => (ground.release.codename.clone(), vec!["main".into()]),
    };
    Repository {
        name: name.value.to_owned(),
        uri_in_image: own.first().cloned().unwrap_or_default(),
        uris: unique(environment.into_iter().flatten().chain(own).collect()),
        suite: suite.unwrap_or(usual_suite),
        components: if components.is_empty() { usual_components } else { components },
        architectures: architectures.to_vec(),
        trust,
        priority: view.integer("priority").map_or(500, |said| said.value as i32),
        signed_by,
        check_valid_until: true,
        snapshot: None,
        in_image: view.bool("in-image").unwrap_or(true),
    }
}

/// Exactly one of `key`, `keys` and `unsigned = true`.
fn trust(view: View<'_>, name: Said<&str>, desk: &Desk<'_>) -> Trust {
    let unsigned = view.bool("unsigned").unwrap_or(false);
    let said: Vec<_> = ["key", "keys"].iter().filter_map(|key| Some((*key, view.key_span(key)?))).collect();
    match (said.as_slice(), unsigned) {
        ([], false) => {
            let message = format!("repository `{}` says nothing about who signs it", name.value);
            desk.say(
                Note::error(name.span, "contradiction", message)
                    .hint("add `key = \"FILE\"` or `keys = \"…\"`, or say `unsigned = true`"),
            );
        }
        ([], true) => {
            let message =
                format!("repository `{}` is not signed: whoever serves it decides what runs as root", name.value);
            desk.say(Note::warning(name.span, "unsigned", message));
        }
        ([(key, span)], true) | ([(key, span), _], _) => {
            let message = format!("`{key}` and another word about signatures cannot both be");
            desk.say(Note::error(*span, "contradiction", message).hint("keep one of `key`, `keys` and `unsigned`"));
        }
        _ => {}
    }
    match keys(view, desk) {
        Some(armored) => Trust::Keys { armored, fingerprints: fingerprints(view) },
        None => Trust::Unsigned,
    }
}

/// Returns the fingerprints without spaces, in capitals.
fn fingerprints(view: View<'_>) -> Vec<String> {
    let plain = |said: &Said<&str>| said.value.split_whitespace().collect::<String>().to_uppercase();
    view.texts("fingerprints").iter().map(plain).collect()
}

/// Returns where the image gets a repository's keys. apk finds one by the name of its file, which signatures say.
fn key_path(name: &str, view: View<'_>, ground: &Ground) -> String {
    if ground.release.family == Family::Apk {
        let file = view.texts("key").first().map_or("kiln.rsa.pub", |said| said.value);
        return format!("/etc/apk/keys/{}", file.rsplit('/').next().unwrap_or(file));
    }
    format!("/usr/share/keyrings/kiln-{name}.asc")
}

fn keys(view: View<'_>, desk: &Desk<'_>) -> Option<String> {
    view.string("keys").or_else(|| key_file(view, desk))
}

/// Returns the keys of the files that `key` names, armoured.
fn key_file(view: View<'_>, desk: &Desk<'_>) -> Option<String> {
    let said = view.texts("key");
    let read = |file: &Said<&str>| match desk.sources.read_bytes(&desk.host_path(file.span, file.value)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = format!("cannot read the key `{}`", file.value);
            desk.say(Note::error(file.span, "unreadable", message).label(error.to_string()));
            None
        }
    };
    let files = said.iter().map(read).collect::<Option<Vec<_>>>().filter(|files| !files.is_empty())?;
    match armour::joined(&files) {
        Ok(keys) => Some(keys),
        Err(number) => {
            let message = format!("`{}` holds no OpenPGP keys that can be read", said[number].value);
            let note = Note::error(said[number].span, "bad-value", message);
            desk.say(note.hint(
                "they are binary, or armoured as `gpg --export --armor` writes them; of Alpine's name one alone",
            ));
            None
        }
    }
}

/// Returns where kiln's own tools come from: mirrors as for that distribution, never a snapshot.
pub fn tools(base: View<'_>, ground: &Ground, desk: &Desk<'_>) -> Repository {
    let release = release::of_tools();
    let architecture = desk.options.host_arch;
    let archive = release.repositories_for(architecture).next().expect("data: a main archive");
    let same = ground.release.distribution == release.distribution;
    let own = if same { recipe_mirrors(archive, base, ground) } else { Vec::new() };
    let empty = View::new(&super::base::KEYS, &[], base.span);
    let ground = Ground { release, ..*ground };
    let uris = unique(own.into_iter().chain(mirrors(archive, empty, &ground, desk)).collect());
    Repository {
        name: "tools".into(),
        uri_in_image: archive.uris[0].clone(),
        uris,
        suite: archive.suite.clone(),
        components: release.components.clone(),
        architectures: vec![architecture],
        trust: Trust::Keyring(archive.keyring.clone()),
        priority: archive.priority,
        signed_by: None,
        check_valid_until: true,
        snapshot: None,
        in_image: false,
    }
}
