//! Golden plans: every `tests/plans/x.toml` plans to the text in `x.plan`, under the lock all of them share.
//!
//! `cargo xtask bless` accepts. A changed id here is a changed cache: raise `CACHE_VERSION` when the same description
//! no longer means the same tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_family::lock::{Lock, Locked, LockedRepository};
use kiln_model::action::{Content, Download};
use kiln_model::{Action, Arch, Digest, Plan};
use kiln_plan::{Inputs, print};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

fn package(name: &str, base: bool) -> Locked {
    Locked {
        name: name.into(),
        version: "1.0-1".into(),
        architecture: "amd64".into(),
        repository: "main".into(),
        filename: format!("pool/main/{name}_1.0-1_amd64.deb"),
        size: 1000,
        installed: None,
        sha256: Digest::of(name),
        base,
        essential: base,
        manual: !base,
        in_tree: false,
        promoted: false,
        why: "recipe".into(),
        source: None,
        source_version: None,
    }
}

/// A small archive's answer: enough of every package that stages ask about.
fn lock(extra: &[&str]) -> Lock {
    let main = LockedRepository {
        name: "main".into(),
        uri: "http://archive.example/debian".into(),
        suite: "trixie".into(),
        components: vec!["main".into()],
        release: Some(Digest::of("release")),
        date: Some(1_760_000_000),
        origin: Some("Debian".into()),
        label: Some("Debian".into()),
        codename: Some("trixie".into()),
        indexes: vec![],
    };
    let backports =
        LockedRepository { name: "backports".into(), codename: Some("trixie-backports".into()), ..main.clone() };
    let base = ["apt", "base-files", "dpkg", "tzdata"].map(|name| package(name, true));
    let packages = base.into_iter().chain(extra.iter().map(|name| package(name, false))).collect();
    Lock {
        edition: 1,
        spec: Digest::of(""),
        architecture: Arch::Amd64,
        repositories: vec![main, backports],
        packages,
        tools: vec![],
        downloads: vec![Download {
            url: "https://example.org/start4.elf".into(),
            size: 7,
            sha256: Digest::of("start4"),
        }],
    }
}

/// A recipe, and the key of the corpus under any other name.
struct Beside<'a>(&'a str);

impl kiln_recipe::Sources for Beside<'_> {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../corpus/recipes/parts/vendor.asc");
        if path == "kiln.toml" { Ok(self.0.to_owned()) } else { fs::read_to_string(key) }
    }

    fn digest(&self, path: &str) -> std::io::Result<kiln_recipe::Local> {
        Ok(kiln_recipe::Local { digest: Digest::of(path), folder: true, executable: false })
    }
}

/// The first line of a recipe here names the packages its lock has: `# packages: systemd linux-image-1-amd64`.
fn plan(text: &str) -> Plan {
    let extra = text.lines().next().and_then(|line| line.strip_prefix("# packages:")).unwrap_or_default();
    let lock = lock(&extra.split_whitespace().collect::<Vec<_>>());
    let options = kiln_recipe::Options::new(Arch::Amd64);
    let completed = kiln_recipe::complete(&Beside(text), "kiln.toml", &options);
    let completed = completed.unwrap_or_else(|rejected| panic!("{rejected}"));
    let secrets = completed.spec.secrets.keys().map(|name| (name.clone(), "00000000".to_owned()));
    kiln_plan::plan(&Inputs { spec: &completed.spec, lock: &lock, secrets: &secrets.collect::<BTreeMap<_, _>>() })
}

fn recipe(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap()
}

#[test]
fn every_recipe_plans_to_what_lies_beside_it() {
    let mut recipes: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    recipes.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    recipes.sort();
    assert!(recipes.len() >= 4, "{} recipes", recipes.len());
    for path in recipes {
        let text = fs::read_to_string(&path).unwrap();
        kiln_testkit::golden(path.with_extension("plan"), &print::text(&plan(&text)));
    }
}

fn ids(plan: &Plan) -> BTreeMap<String, String> {
    let tree = plan.pipeline("tree").unwrap();
    tree.stages.iter().zip(plan.ids(tree)).map(|(stage, id)| (stage.kind.to_string(), id.to_string())).collect()
}

#[test]
fn priorities_on_the_device_name_the_archive_rather_than_its_host() {
    let vendor = "backports = true\n\n[[base.repository]]\nname = \"vendor\"\nuri = \"http://vendor.example:8080/apt\"\n\
                  unsigned = true\npriority = 900\n\n[system]";
    let plan = plan(&recipe("disk").replace("[system]", vendor));
    let actions = plan.pipelines.iter().flat_map(|pipeline| &pipeline.stages).flat_map(|stage| &stage.actions);
    let texts: Vec<_> = actions
        .filter_map(|action| match action {
            Action::Write { path, content: Content::Text(text), .. } if path.to_string().ends_with(".pref") => {
                Some(text)
            }
            _ => None,
        })
        .collect();
    // apt knows a host without its port, and backports are on the host of everything else.
    let wanted = "Package: *\nPin: release o=Debian,l=Debian,n=trixie-backports\nPin-Priority: 100\n\n\
                  Package: *\nPin: origin \"vendor.example\"\nPin-Priority: 900\n";
    assert_eq!(texts, [wanted]);
}

#[test]
fn a_changed_hostname_runs_no_stage_before_network() {
    let text = recipe("disk");
    let (before, after) = (ids(&plan(&text)), ids(&plan(&text.replace("\"box\"", "\"crate\""))));
    let changed: Vec<_> =
        before.iter().filter(|(stage, id)| after[*stage] != **id).map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(changed, ["cleanup", "network", "users"]);
}

#[test]
fn a_changed_secret_changes_the_stage_that_uses_it_and_its_value_is_nowhere() {
    let text = recipe("users");
    let completed = kiln_recipe::complete_text(&text).unwrap();
    let lock = lock(&["sudo"]);
    let planned = |fingerprint: &str| {
        let secrets = BTreeMap::from([("pi".to_owned(), fingerprint.to_owned())]);
        ids(&kiln_plan::plan(&Inputs { spec: &completed.spec, lock: &lock, secrets: &secrets }))
    };
    let (one, two) = (planned("11111111"), planned("22222222"));
    assert_ne!(one["users"], two["users"]);
    assert_eq!(one["network"], two["network"]);
}
