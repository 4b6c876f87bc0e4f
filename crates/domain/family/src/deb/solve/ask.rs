//! Whether a request names what there is; this needs no answer, and is known of every word of it.

use super::candidate::{self, Wishes};
use super::state::States;
use super::universe::Universe;
use super::{Reason, Request, words};

/// Returns what is wrong with the words that are to be included: unknown names, versions and suites that are not there.
pub fn misnamed(universe: &Universe, request: &Request) -> Vec<Reason> {
    let wishes = Wishes { exclude: request.exclude.iter().map(String::as_str).collect(), prefer: &[] };
    let mut states = States::new(universe, request.recommends);
    for node in states.nodes() {
        states.set_candidate(node, candidate::choose(universe, node, None, &wishes));
    }
    let wrong = request.include.iter().filter_map(|word| Some(words::look_up(&states, word).err()?.about(word)));
    wrong.collect()
}

/// Returns what is excluded in vain: names that nothing has, or only what other packages provide.
pub fn vain(universe: &Universe, request: &Request) -> Vec<Reason> {
    let vain = |name: &String| {
        let node = match words::find(universe, name) {
            Ok(node) => node,
            Err(reason) => {
                return Some(Reason { text: format!("{}, so excluding it changes nothing", reason.text), ..reason });
            }
        };
        if universe.versions_at(node).next().is_some() {
            return None;
        }
        let providers: Vec<_> = universe.provides_at(node).map(|provide| provide.version).collect();
        let hint = format!("exclude what provides it: {}", words::named(universe, &providers));
        Some(Reason::unmet(format!("`{name}` is a virtual package, so excluding it changes nothing"), Some(hint)))
    };
    request.exclude.iter().filter_map(|name| Some(vain(name)?.about(name))).collect()
}
