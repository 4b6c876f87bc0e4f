//! Solves a request against package lists on disk and says how long each step took.
//!
//!     cargo run -p kiln-family --example solve -- Packages [Packages…] : base? word…

use std::time::Instant;

use kiln_family::deb::packages::Index;
use kiln_family::deb::solve::{Base, Repository, Request, Source, Universe, solve};
use kiln_model::Arch;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut parts = arguments.split(|word| word == ":");
    let (files, words) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let lists: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a readable list")).collect();
    let bytes: usize = lists.iter().map(Vec::len).sum();
    let started = Instant::now();
    let indexes: Vec<Index> = lists.into_iter().map(|list| Index::parse(list).expect("a list of packages")).collect();
    eprintln!("scan {:?}, {:.2} GB/s", started.elapsed(), bytes as f64 / started.elapsed().as_secs_f64() / 1e9);
    let started = Instant::now();
    let repository = Repository { name: "x".into(), priority: 500, ..Repository::default() };
    let sources = indexes.into_iter().map(|index| Source { repository: repository.clone(), index }).collect();
    let universe = Universe::new(Arch::host(), &[], sources);
    eprintln!("universe {:?}", started.elapsed());
    let base = if words.first().is_some_and(|word| word == "base") { Base::Minbase } else { Base::Empty };
    let include = words.iter().filter(|word| *word != "base").cloned().collect();
    let request = Request { base, include, recommends: true, ..Request::default() };
    let started = Instant::now();
    let answer = solve(&universe, &request);
    eprintln!("solve {:?}", started.elapsed());
    match answer {
        Ok(solution) => {
            eprintln!("{} packages", solution.packages.len());
            for chosen in &solution.packages {
                println!(
                    "{} {}: {}",
                    universe.show(chosen.version),
                    universe.version(chosen.version),
                    universe.why(&chosen.why)
                );
            }
        }
        Err(error) => println!("{error}\n{}", error.hint.as_deref().unwrap_or_default()),
    }
}
