//! Every `.env` of corpus/pieman has what it becomes beside it: `.out` what is said about it, `.toml` the recipe. A folder of the
//! same name is the user's own pair.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Folder, checkout, golden};
use kiln_model::Arch;
use kiln_recipe::pieman::{self, Given, HookFile, Order, PairFiles, Person, Refused, Surroundings};
use kiln_recipe::{Look, Options, draft_written, render};

/// Nobody to ask.
struct Nobody;

impl Person for Nobody {
    fn show(&mut self, _: &str) {}

    fn ask(&mut self, name: &str) -> String {
        format!("asked for {name}")
    }
}

/// Returns what is said, and the recipe.
fn outcome(folder: &Path, name: &str) -> (Option<String>, Option<String>) {
    let order = match order(folder, name) {
        Ok(order) => order,
        Err(refused) => return (Some(format!("Fatal: {}\n{}", refused.fatal, refused.render(Look::PLAIN))), None),
    };
    let draft = draft_written(&Folder(folder.to_owned()), &order.recipe, &Options::new(Arch::Amd64));
    let place = format!("{}\n", order.place.result);
    let said = order.warnings.render(Look::PLAIN) + &render(&draft.diagnostics, &draft.files, Look::PLAIN);
    (Some(place + &said), Some(order.recipe.toml()))
}

fn order(folder: &Path, name: &str) -> Result<Order, Refused> {
    let dotenv = std::fs::read_to_string(folder.join(format!("{name}.env"))).unwrap();
    let environment = BTreeMap::from([("LOCALE".to_owned(), "en_GB.UTF-8".to_owned())]);
    let given = Given {
        environment: &environment,
        dotenv: Some(&dotenv),
        folder: "/srv/pieman".into(),
        owner: "1000:1000".into(),
        project: "00000000-0000-4000-8000-000000000000".into(),
    };
    let mut parameters = pieman::declare(&given, &mut Nobody)?;
    pieman::check(&parameters)?;
    let surroundings = Surroundings { pair: pair(folder, name), keys: Vec::new(), insecure_defaults: false };
    pieman::order(&mut parameters, &surroundings)
}

fn pair(folder: &Path, name: &str) -> Option<PairFiles> {
    let path = format!("{name}/pieman.yml");
    let definition = std::fs::read_to_string(folder.join(&path)).ok()?;
    let hooks = ["post-install", "pre-kernel-installation", "pre-first-stage"].into_iter().flat_map(|hook| {
        let files = std::fs::read_dir(folder.join(name).join(hook)).into_iter().flatten().flatten();
        files.map(move |file| HookFile {
            hook: hook.to_owned(),
            file: file.file_name().into_string().unwrap(),
            text: std::fs::read_to_string(file.path()).unwrap(),
        })
    });
    Some(PairFiles { path, definition, hooks: hooks.collect(), environment: BTreeMap::new() })
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".env").map(str::to_owned)).collect();
    names.sort();
    names
}

#[test]
fn parameters_become_what_lies_beside_them() {
    let folder = checkout().join("corpus/pieman");
    let mut different = Vec::new();
    for name in names(&folder) {
        let (said, recipe) = outcome(&folder, &name);
        different.extend(golden(&folder.join(format!("{name}.out")), said.as_deref()));
        different.extend(golden(&folder.join(format!("{name}.toml")), recipe.as_deref()));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Users move on with `--print-recipe`: the printed recipe is the same image.
#[test]
fn the_printed_recipe_is_the_same_recipe() {
    let folder = checkout().join("corpus/pieman");
    for name in names(&folder) {
        let Ok(order) = order(&folder, &name) else { continue };
        let (sources, options) = (Folder(folder.clone()), Options::new(Arch::Amd64));
        let Ok(here) = draft_written(&sources, &order.recipe, &options).finish() else { continue };
        let there = kiln_recipe::complete(&sources, &format!("{name}.toml"), &options);
        let there = there.unwrap_or_else(|rejected| panic!("{}", rejected.render(Look::PLAIN)));
        assert_eq!(here.spec, there.spec, "{name}");
    }
}

/// `<distribution>-<codename>-<architecture>` for every release and every board that starts it.
#[test]
fn every_release_of_the_catalogue_can_be_ordered() {
    let cases = [
        ("debian-bookworm-arm64", "rpi-4-b"),
        ("debian-trixie-arm64", "rpi-3-b"),
        ("debian-sid-arm64", "rpi-3-b-plus"),
        ("devuan-daedalus-armhf", "opi-zero"),
        ("devuan-excalibur-arm64", "rpi-3-b"),
        ("kali-rolling-armhf", "opi-pc-plus"),
        ("raspberrypios-bookworm-armhf", "rpi-zero-w"),
        ("raspbian-trixie-armhf", "rpi-b"),
        ("raspberrypios-trixie-arm64", "rpi-5"),
        ("ubuntu-jammy-arm64", "generic-arm64"),
        ("ubuntu-24.04-amd64", "generic-x86_64"),
    ];
    for (os, device) in cases {
        let text = format!("OS={os} DEVICE={device} PROJECT_NAME=x USER_PASSWORD=x");
        let environment = BTreeMap::new();
        let (folder, owner, project) = (String::new(), "0:0".into(), "x".into());
        let given = Given { environment: &environment, dotenv: Some(&text), folder, owner, project };
        let Ok(mut parameters) = pieman::declare(&given, &mut Nobody) else { panic!("{os}") };
        let order = pieman::order(&mut parameters, &Surroundings::default());
        let order = order.unwrap_or_else(|refused| panic!("{os}: {}\n{}", refused.fatal, refused.render(Look::PLAIN)));
        assert!(order.recipe.toml().contains(&format!("board = \"{device}\"")), "{os}");
    }
}

/// The list that user interfaces show.
#[test]
fn devices_are_listed_as_they_were() {
    let devices = pieman::devices();
    let text = serde_json::to_string_pretty(&devices["rpi-3-b"]).unwrap() + "\n";
    assert_eq!(golden(&checkout().join("corpus/pieman/devices.rpi-3-b.json"), Some(&text)), None);
    let names: Vec<&str> = devices.as_object().unwrap().keys().map(String::as_str).collect();
    for known in
        ["opi-pc-plus", "opi-zero", "rpi-b", "rpi-2-b", "rpi-3-b", "rpi-3-b-plus", "rpi-4-b", "rpi-zero", "rpi-zero-w"]
    {
        assert!(names.contains(&known), "{known}: {names:?}");
    }
}
