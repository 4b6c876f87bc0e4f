//! The solver on archives small enough to read.

use kiln_family::deb::packages::Index;
use kiln_family::deb::solve::{
    Base, Kind, Pin, Reason, Repository, Request, Source, Universe, Why, misnamed, solve, vain,
};
use kiln_family::lock::Lock;
use kiln_model::{Arch, Digest};

/// Builds a list: `name version: Field=value; Field=value`, one package a line.
fn list(lines: &str) -> Index {
    let stanza = |line: &str| {
        let (head, fields) = line.split_once(':').map_or((line, ""), |(head, fields)| (head, fields));
        let (name, version) = head.trim().split_once(' ').unwrap();
        let fields = fields.split(';').map(str::trim).filter(|field| !field.is_empty());
        let fields: String = fields.map(|field| field.replacen('=', ": ", 1) + "\n").collect();
        let arch = if fields.contains("Architecture:") { "" } else { "Architecture: amd64\n" };
        let priority = if fields.contains("Priority:") { "" } else { "Priority: optional\n" };
        let sha256 = Digest::of(line);
        format!(
            "Package: {name}\nVersion: {version}\n{arch}{priority}{fields}Filename: pool/{name}.deb\nSize: 9\nSHA256: {sha256}\n\n"
        )
    };
    let text: String = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(stanza).collect();
    Index::parse(text).unwrap()
}

fn source(name: &str, priority: i32, lines: &str) -> Source {
    let repository = Repository { name: name.into(), suite: format!("{name}-suite"), codename: name.into(), priority };
    Source { repository, index: list(lines) }
}

fn universe(lines: &str) -> Universe {
    Universe::new(Arch::Amd64, &[Arch::I386], vec![source("main", 500, lines)])
}

fn ask(words: &str) -> Request {
    Request { include: words.split_whitespace().map(str::to_owned).collect(), ..Request::default() }
}

/// Returns `name=version` of the answer, sorted, or why there is none.
fn answer(universe: &Universe, request: &Request) -> String {
    match solve(universe, request) {
        Ok(solution) => {
            let word = |version| format!("{}={}", universe.show(version), universe.version(version));
            let mut words: Vec<String> = solution.packages.iter().map(|chosen| word(chosen.version)).collect();
            words.sort();
            words.join(" ")
        }
        Err(error) => told(&error.reasons),
    }
}

/// Returns reasons with their ways out.
fn told(reasons: &[Reason]) -> String {
    let told = |reason: &Reason| match &reason.hint {
        Some(hint) => format!("{} ({hint})", reason.text),
        None => reason.text.clone(),
    };
    reasons.iter().map(told).collect::<Vec<_>>().join("; ")
}

const ARCHIVE: &str = "
    base-files 1: Essential=yes; Priority=required; Pre-Depends=awk
    mawk 1: Priority=required; Provides=awk
    gawk 1: Provides=awk
    original-awk 1: Provides=awk
    apt 2: Priority=important; Depends=libc6 (>= 2)
    libc6 2: Multi-Arch=same; Priority=optional
    libc6 2: Architecture=i386; Multi-Arch=same
    tool 1: Architecture=i386; Depends=libc6; Multi-Arch=foreign
    cron 1: Priority=important
    mailer 1: Depends=exim | mta; Recommends=notes
    exim 1: Provides=mta; Conflicts=mta
    postfix 1: Provides=mta; Conflicts=mta
    notes 1
    needs-new 1: Depends=libc6 (>= 3)
    needs-gone 1: Depends=gone
    chain 1: Depends=needs-new
    versioned 1: Depends=api (>= 2)
    old-api 1: Provides=api (= 1)
    new-api 1: Provides=api (= 2)
    desk1 1: Task=desk
    desk2 1: Task=desk, other
    interp 1: Multi-Arch=allowed
    script 1: Architecture=i386; Depends=interp:any
    script-strict 1: Architecture=i386; Depends=interp
";

#[test]
fn answers() {
    let universe = universe(ARCHIVE);
    let table = [
        ("mailer", "exim=1 mailer=1"),
        ("mailer postfix", "mailer=1 postfix=1"),
        ("base-files", "base-files=1 mawk=1"),
        ("base-files gawk", "base-files=1 gawk=1"),
        ("versioned", "new-api=1 versioned=1"),
        ("desk^", "desk1=1 desk2=1"),
        ("api", "`api` is a virtual package (name one that provides it: `new-api`, `old-api`)"),
        ("libc6=2", "libc6=2"),
        (
            "libc6=7",
            "there is no version `7` of `libc6`; there is `2` (write `libc6=2`, or `libc6` for the newest there is)",
        ),
        ("notes/main-suite", "notes=1"),
        (
            "notes/sid",
            "there is no `notes` in suite `sid` (there is `notes/main`; another suite wants a `[[base.repository]]` of its own)",
        ),
        ("tool", "libc6:i386=2 tool:i386=1"),
        ("libc6 libc6:i386", "libc6:i386=2 libc6=2"),
        ("script:i386", "interp=1 script:i386=1"),
        ("script-strict:i386", "`script-strict:i386` needs `interp`, but nothing provides `interp`"),
        ("exmi", "there is no package `exmi` (did you mean `exim`?)"),
        ("desk", "there is no package `desk` (did you mean `desk1` or `desk2`?)"),
        ("mai", "there is no package `mai` (did you mean `mailer`?)"),
        ("exim:arm64", "there is no package `exim` for `arm64` (say under `[packages]`: foreign = [\"arm64\"])"),
        ("exim:i386", "there is no package `exim` for `i386` (there is `exim`)"),
        (
            "zzz^ desks^ exim^",
            "there is no task `zzz`; there is no task `desks` (did you mean `desk^`?); \
          there is no task `exim` (the package is called `exim`, without `^`)",
        ),
        (
            "exim postfix",
            "`exim` cannot be installed together with `postfix`; `postfix` cannot be installed together with `exim`",
        ),
        ("needs-new", "`needs-new` needs `libc6 (>= 3)`, but the newest `libc6` is 2 from main"),
        ("needs-gone", "`needs-gone` needs `gone`, but there is no package `gone`"),
        ("chain", "`needs-new` (for `chain`) needs `libc6 (>= 3)`, but the newest `libc6` is 2 from main"),
    ];
    for (words, wanted) in table {
        assert_eq!(answer(&universe, &ask(words)), wanted, "{words}");
    }
}

#[test]
fn recommends_come_along_when_asked_for() {
    let request = Request { recommends: true, ..ask("mailer") };
    assert_eq!(answer(&universe(ARCHIVE), &request), "exim=1 mailer=1 notes=1");
}

#[test]
fn bases_grow() {
    let universe = universe(ARCHIVE);
    let table = [
        (Base::Essential, "base-files=1 mawk=1"),
        (Base::Minbase, "apt=2 base-files=1 libc6=2 mawk=1"),
        (Base::Important, "apt=2 base-files=1 cron=1 libc6=2 mawk=1"),
    ];
    for (base, wanted) in table {
        assert_eq!(answer(&universe, &Request { base, ..Request::default() }), wanted, "{base:?}");
    }
}

#[test]
fn excluded_packages_are_never_chosen() {
    let universe = universe(ARCHIVE);
    let exclude = |words: &str, name: &str| answer(&universe, &Request { exclude: vec![name.into()], ..ask(words) });
    assert_eq!(exclude("mailer", "exim"), "mailer=1 postfix=1");
    assert_eq!(exclude("chain", "needs-new"), "`chain` needs `needs-new`, but the recipe excludes `needs-new`");
    let why = "`notes` has no version that may be installed (`notes` is excluded, or its repository's priority is below zero)";
    assert_eq!(exclude("notes", "notes"), why);
}

#[test]
fn everything_has_a_reason() {
    let universe = universe(ARCHIVE);
    let solution = solve(&universe, &Request { base: Base::Essential, recommends: true, ..ask("mailer") }).unwrap();
    let mut reasons: Vec<String> = solution
        .packages
        .iter()
        .map(|chosen| format!("{}: {}", universe.show(chosen.version), universe.why(&chosen.why)))
        .collect();
    reasons.sort();
    let wanted = [
        "base-files: base: essential",
        "exim: needed by mailer",
        "mailer: recipe: mailer",
        "mawk: needed by base-files",
        "notes: recommended by mailer",
    ];
    assert_eq!(reasons, wanted);
    let base: Vec<&str> =
        solution.packages.iter().filter(|chosen| chosen.base).map(|chosen| universe.name(chosen.version)).collect();
    assert_eq!(base, ["base-files", "mawk"]);
    let locked = solution.locked(&universe).unwrap();
    assert_eq!(
        locked.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["base-files", "exim", "mailer", "mawk", "notes"]
    );
    assert!(locked[0].essential && locked[0].manual && !locked[1].manual);
    assert!(matches!(solution.packages.iter().find(|c| !c.base).unwrap().why, Why::Asked(_)));
}

#[test]
fn repositories_have_priorities() {
    let sources = |priority| {
        vec![
            source("main", 500, "tool 1"),
            source("backports", priority, "tool 2: Depends=lib (>= 2)\nlib 2"),
            source("lib", 500, "lib 1"),
        ]
    };
    let universe = |priority| Universe::new(Arch::Amd64, &[], sources(priority));
    assert_eq!(answer(&universe(500), &ask("tool")), "lib=2 tool=2");
    assert_eq!(answer(&universe(100), &ask("tool")), "tool=1");
    // What is asked for from a suite brings what it needs from there.
    assert_eq!(answer(&universe(100), &ask("tool/backports")), "lib=2 tool=2");
    assert_eq!(answer(&universe(-1), &ask("tool")), "tool=1");
}

#[test]
fn local_files_win_even_when_older() {
    let sources = vec![source("main", 500, "tool 2"), source("local", kiln_family::deb::pin::LOCAL, "tool 1")];
    let universe = Universe::new(Arch::Amd64, &[], sources);
    assert_eq!(answer(&universe, &ask("tool")), "tool=1");
}

#[test]
fn an_older_locks_versions_are_kept_unless_named() {
    let universe = Universe::new(
        Arch::Amd64,
        &[],
        vec![source("main", 500, "tool 2: Depends=lib\nlib 2"), source("old", 500, "tool 1: Depends=lib\nlib 1")],
    );
    let pin = |name: &str| Pin { name: name.into(), architecture: "amd64".into(), version: "1".into() };
    let with = |prefer: Vec<Pin>| answer(&universe, &Request { prefer, ..ask("tool") });
    assert_eq!(with(vec![]), "lib=2 tool=2");
    assert_eq!(with(vec![pin("tool"), pin("lib")]), "lib=1 tool=1");
    assert_eq!(with(vec![pin("tool")]), "lib=2 tool=1");
    // A kept version that the updated package cannot live with is let go.
    let strict = Universe::new(
        Arch::Amd64,
        &[],
        vec![source("main", 500, "tool 2: Depends=lib (>= 2)\nlib 2\nx 2"), source("old", 500, "lib 1\nx 1")],
    );
    let request = Request { prefer: vec![pin("lib"), pin("x")], ..ask("tool x") };
    assert_eq!(answer(&strict, &request), "lib=2 tool=2 x=1");
    let gone = Pin { version: "0".into(), ..pin("tool") };
    assert_eq!(with(vec![gone]), "lib=2 tool=2");
}

#[test]
fn an_installed_tree_is_built_upon() {
    let universe = universe(ARCHIVE);
    let pin = |name: &str| Pin { name: name.into(), architecture: "amd64".into(), version: "1".into() };
    let request = Request { installed: vec![pin("postfix")], ..ask("mailer") };
    assert_eq!(answer(&universe, &request), "mailer=1 postfix=1");
    let request = Request { installed: vec![pin("postfix")], ..ask("exim") };
    assert_eq!(answer(&universe, &request), "exim=1");
    let request = Request { installed: vec![Pin { version: "9".into(), ..pin("postfix") }], ..ask("exim") };
    assert_eq!(answer(&universe, &request), "the installed `postfix` 9 is in no repository");
}

#[test]
fn a_solution_makes_a_lock() {
    let universe = universe(ARCHIVE);
    let packages = solve(&universe, &ask("mailer")).unwrap().locked(&universe).unwrap();
    let repository = kiln_family::LockedRepository {
        name: "main".into(),
        uri: "http://archive.example".into(),
        suite: "main".into(),
        ..Default::default()
    };
    let lock = Lock {
        edition: 1,
        spec: Digest::of(""),
        architecture: Arch::Amd64,
        repositories: vec![repository],
        packages,
        tools: vec![],
        downloads: vec![],
    };
    assert_eq!(Lock::read(&lock.write()).unwrap(), lock);
}

#[test]
fn every_word_is_told_with_its_own_way_out() {
    let universe = universe(ARCHIVE);
    let request =
        Request { exclude: ["exim", "awk", "pstfix"].map(str::to_owned).into(), ..ask("exmi api libc6=7 notes") };
    let kinds = |reasons: &[Reason]| -> Vec<(String, Kind)> {
        reasons.iter().map(|reason| (reason.word.clone().unwrap(), reason.kind)).collect()
    };
    let found = misnamed(&universe, &request);
    let wanted = [("exmi", Kind::Unknown), ("api", Kind::Unmet), ("libc6=7", Kind::Unmet)];
    assert_eq!(kinds(&found), wanted.map(|(word, kind)| (word.to_owned(), kind)));
    let found = vain(&universe, &request);
    assert_eq!(kinds(&found), [("awk".to_owned(), Kind::Unmet), ("pstfix".to_owned(), Kind::Unknown)]);
    assert_eq!(
        told(&found),
        "`awk` is a virtual package, so excluding it changes nothing (exclude what provides it: `gawk`, `mawk`, \
         `original-awk`); there is no package `pstfix`, so excluding it changes nothing (did you mean `postfix`?)"
    );
}
