//! Worlds against apk's answers, as `worlds.txt` tells them.

use std::collections::BTreeMap;

use kiln_family::apk::{Chosen, Index, Repository, Request, solve};

#[test]
fn worlds_are_answered_as_apk_answers_them() {
    let mut failed = Vec::new();
    for case in cases() {
        let answer = case.answer();
        let same = match (&answer, &case.refuse) {
            (Ok(packages), None) => *packages == case.install,
            (Err(text), Some(words)) => words.iter().all(|word| text.contains(word)),
            _ => false,
        };
        if !same {
            failed.push(format!("{}: {answer:?}, wanted {:?} or {:?}", case.name, case.install, case.refuse));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn tags_and_reasons_are_told() {
    let case = cases().into_iter().find(|case| case.name == "a-tagged-condition").unwrap();
    let repositories = case.repositories.clone();
    let request = Request { world: &case.world, keep: &[], arch: "x86_64" };
    let solution = solve(&repositories, &request).unwrap();
    let told = |one: &Chosen<'_>| format!("{} {:?} {}", one.entry.name, one.tag, one.why);
    let told: Vec<String> = solution.packages.iter().map(told).collect();
    let wanted = [
        "b None `a-3` needs `b`",
        "a Some(\"testing\") `a@testing` in the world",
        "iif Some(\"testing\") installed with `a`",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn versions_to_keep_are_kept_where_they_may_be() {
    let repositories = cases().into_iter().find(|case| case.world == ["a"]).unwrap().repositories;
    let answer = |world: &[&str], keep: &[(&str, &str)]| {
        let world: Vec<String> = world.iter().map(|atom| (*atom).to_owned()).collect();
        let keep: Vec<_> = keep.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        let solution = solve(&repositories, &Request { world: &world, keep: &keep, arch: "x86_64" }).unwrap();
        solution.packages.iter().map(|one| one.entry.full_name()).collect::<Vec<_>>()
    };
    assert_eq!(answer(&["a"], &[]), ["b-2", "a-2"]);
    assert_eq!(answer(&["a"], &[("b", "1")]), ["b-1", "a-2"]);
    assert_eq!(answer(&["a"], &[("a", "1"), ("b", "1")]), ["b-1", "a-1"]);
    // One that is gone, and one that is not what the recipe says by now.
    assert_eq!(answer(&["a"], &[("a", "0"), ("b", "1")]), ["b-1", "a-2"]);
    assert_eq!(answer(&["a", "b>1"], &[("a", "1"), ("b", "1")]), ["b-2", "a-1"]);
}

#[test]
fn a_slip_of_the_pen_is_understood() {
    let case = cases().into_iter().find(|case| case.name == "an-older-library").unwrap();
    let request = Request { world: &["mailreadplsu".to_owned()], keep: &[], arch: "x86_64" };
    let fault = kiln_model::Fault::from(solve(&case.repositories, &request).unwrap_err());
    assert_eq!(fault.hint_text(), Some("did you mean `mailreadplus`?"));
}

struct Case {
    name: String,
    repositories: Vec<Repository>,
    world: Vec<String>,
    install: Vec<String>,
    refuse: Option<Vec<String>>,
}

impl Case {
    fn answer(&self) -> Result<Vec<String>, String> {
        let request = Request { world: &self.world, keep: &[], arch: "x86_64" };
        let solution = solve(&self.repositories, &request).map_err(told)?;
        Ok(solution.packages.iter().map(|one| one.entry.full_name()).collect())
    }
}

/// Returns an error with its hint.
fn told(error: kiln_family::apk::solve::Error) -> String {
    let fault = kiln_model::Fault::from(error);
    format!("{fault}; {}", fault.hint_text().unwrap_or_default())
}

fn cases() -> Vec<Case> {
    let mut lists: BTreeMap<String, String> = BTreeMap::new();
    let (mut cases, mut list): (Vec<Case>, Option<String>) = (Vec::new(), None);
    for line in include_str!("worlds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (word, rest) = line.split_once(' ').expect("a line has words");
        let words = || rest.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match word {
            "repository" => list = Some(rest.to_owned()),
            "case" => cases.push(begin(&words(), &lists)),
            "world" => cases.last_mut().unwrap().world = words(),
            "install" => cases.last_mut().unwrap().install = words(),
            "refuse" => cases.last_mut().unwrap().refuse = Some(words()),
            _ => *lists.entry(list.clone().unwrap()).or_default() += &entry(word, rest),
        }
    }
    cases
}

fn begin(words: &[String], lists: &BTreeMap<String, String>) -> Case {
    let repository = |word: &String| {
        let (tag, name) = word.strip_prefix('@').and_then(|word| word.split_once(':')).unzip();
        let name = name.unwrap_or(word);
        let index = Index::parse(lists[name].as_bytes()).expect("lists of tests are lists");
        Repository { name: name.to_owned(), tag: tag.map(str::to_owned), index }
    };
    let repositories = words[1..].iter().map(repository).collect();
    Case { name: words[0].clone(), repositories, world: Vec::new(), install: Vec::new(), refuse: None }
}

/// Returns a package's block in the index.
fn entry(name: &str, rest: &str) -> String {
    let (version, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut text = format!("P:{name}\nV:{version}\nS:1\nI:1\n");
    for (key, value) in fields.split(';').filter_map(|field| field.split_once('=')) {
        let letter = match key {
            "depends" => 'D',
            "provides" => 'p',
            "if" => 'i',
            "priority" => 'k',
            "arch" => 'A',
            _ => panic!("`{key}` is no field"),
        };
        text += &format!("{letter}:{value}\n");
    }
    text + "\n"
}
