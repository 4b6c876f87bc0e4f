//! A mirror, not a grade: how large files and functions are, where programs are spawned, where `unsafe` stands.

use crate::sources::{self, Source};
use crate::tool::Done;

/// How many of the largest are shown.
const SHOWN: usize = 15;

pub fn run(_: &[String]) -> Done {
    let sources = sources::all();
    files(&sources);
    functions(&sources);
    sites("spawn sites", &sources, "Command::new(");
    sites("unsafe sites", &sources, concat!("unsafe", " {"));
    Ok(())
}

fn files(sources: &[Source]) {
    let mut sizes: Vec<(usize, &str)> = sources.iter().map(|source| (source.lines(), source.path.as_str())).collect();
    println!("{} files, {} lines without tests; half of the files have at most {}", sizes.len(), total(&sizes), {
        middle(sizes.iter().map(|(lines, _)| *lines).collect())
    });
    sizes.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    sizes.iter().take(SHOWN).for_each(|(lines, path)| println!("{lines:6}  {path}"));
}

fn functions(sources: &[Source]) {
    let found =
        sources.iter().flat_map(|source| source.functions().into_iter().map(move |function| (source, function)));
    let mut found: Vec<_> = found.collect();
    let half = middle(found.iter().map(|(_, function)| function.lines).collect());
    println!("\n{} functions; half of them have at most {half} lines", found.len());
    found.sort_by_key(|(_, function)| std::cmp::Reverse(function.lines));
    for (source, function) in found.iter().take(SHOWN) {
        println!("{:6}  {}:{} {}", function.lines, source.path, function.line, function.name);
    }
}

fn sites(what: &str, sources: &[Source], word: &str) {
    println!("\n{what}");
    let found = sources.iter().map(|source| (source, source.lines_with(word)));
    for (source, lines) in found.filter(|(_, lines)| !lines.is_empty()) {
        let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
        println!("{:6}  {}: {}", lines.len(), source.path, lines.join(", "));
    }
}

fn total(sizes: &[(usize, &str)]) -> usize {
    sizes.iter().map(|(lines, _)| lines).sum()
}

fn middle(mut numbers: Vec<usize>) -> usize {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
