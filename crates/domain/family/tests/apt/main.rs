//! The solver against apt: the same lists, the same request, the same answer.
//!
//! apt runs as on any machine, with its state in a folder below `target/`; the lists come from the mirror that this machine's own
//! apt is set up for, so the test needs a network once a day. What apt said is kept beside the lists it said it about.

mod archive;
mod sets;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use archive::Archive;
use kiln_family::deb::solve::{Base, Request, solve};
use sets::Set;

#[test]
fn every_set_gets_apts_answer() {
    let mut sets = sets::read(include_str!("../apt-sets.txt"));
    assert!(sets.len() >= 200, "only {} sets", sets.len());
    if std::env::var("KILN_APT_SETS").is_ok_and(|word| word == "more") {
        sets.extend(sets::read(include_str!("../apt-sets-more.txt")));
    }
    let mut archives: Vec<Archive> = Vec::new();
    for set in &sets {
        if !archives.iter().any(|archive| archive.architectures == set.architectures) {
            archives.push(Archive::open(&set.architectures));
        }
    }
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(set) = sets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let archive = archives
                        .iter()
                        .find(|archive| archive.architectures == set.architectures)
                        .expect("opened above");
                    let outcome = compare(archive, set);
                    report.lock().unwrap().add(set, outcome);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    println!("{} sets: {} with an answer, {} refused by both", sets.len(), report.answered, report.refused);
    assert!(report.differences.is_empty(), "{} of {} sets differ:\n{}", report.count, sets.len(), report.differences);
}

#[test]
fn the_minbase_is_what_apt_makes_of_essential_and_required() {
    for architecture in ["amd64", "arm64"] {
        let archive = Archive::open(&[architecture.parse().unwrap()]);
        let request = Request { base: Base::Minbase, ..Request::default() };
        let ours = ours(&archive, &request).unwrap();
        assert_eq!(ours, archive.minbase(), "{architecture}");
    }
}

/// Package, architecture and version, as one word.
type Packages = BTreeSet<String>;

#[derive(Default)]
struct Report {
    answered: usize,
    refused: usize,
    count: usize,
    differences: String,
}

impl Report {
    fn add(&mut self, set: &Set, outcome: Outcome) {
        match outcome {
            Outcome::Same => self.answered += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Different(how) => {
                self.count += 1;
                let _ = writeln!(self.differences, "{set}\n{how}");
            }
        }
    }
}

enum Outcome {
    Same,
    Refused,
    Different(String),
}

fn compare(archive: &Archive, set: &Set) -> Outcome {
    let installed = if set.minbase { archive.minbase() } else { Packages::new() };
    let request = Request {
        include: set.words.clone(),
        recommends: set.recommends,
        installed: installed.iter().map(|word| archive::pin(word)).collect(),
        ..Request::default()
    };
    match (archive.apt(set, &installed), ours(archive, &request)) {
        (Err(_), Err(_)) => Outcome::Refused,
        (Ok(apt), Ok(ours)) if apt == ours => Outcome::Same,
        (Ok(apt), Ok(ours)) => {
            let only = |a: &Packages, b: &Packages| a.difference(b).cloned().collect::<Vec<_>>().join(" ");
            Outcome::Different(format!("  only apt:  {}\n  only kiln: {}", only(&apt, &ours), only(&ours, &apt)))
        }
        (Err(apt), Ok(_)) => Outcome::Different(format!("  apt refuses: {apt}")),
        (Ok(_), Err(ours)) => Outcome::Different(format!("  kiln refuses: {ours}")),
    }
}

fn ours(archive: &Archive, request: &Request) -> Result<Packages, String> {
    let solution = solve(&archive.universe, request).map_err(|error| error.to_string())?;
    let word = |version| {
        let stanza = archive.universe.stanza(version);
        archive::word(stanza.name(), stanza.architecture(), stanza.version())
    };
    Ok(solution.packages.iter().map(|chosen| word(chosen.version)).collect())
}
