//! A build upon a tree, against an archive of our own that has nothing newer.

mod common;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use common::Bench;
use kiln_testkit::{Archive, Deb, Key, Server};

const RECIPE: &str = "edition = 1\nname = \"next\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                      architecture = \"amd64\"\nmirror = \"MIRROR\"\nkey = \"archive.asc\"\nupdates = false\n\
                      security = false\ntree = \"old\"\n\n[packages]\nbase = \"essential\"\n\
                      include = [INCLUDE]\n\n[[output]]\nformat = \"dir\"\n";

fn installed(name: &str, architecture: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 1\n\n")
}

fn automatic(names: &[&str]) -> String {
    names.iter().map(|name| format!("Package: {name}\nArchitecture: amd64\nAuto-Installed: 1\n\n")).collect()
}

/// `apt-get install` of a package that only came along marks it as asked for; so does a recipe.
#[test]
fn what_the_recipe_names_is_no_longer_automatic() {
    let (bench, key) = (Bench::new(), Key::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let root = bench.path("archive");
    fs::create_dir_all(&root).unwrap();
    Archive::new("trixie", now - 60).deb(Deb::new("dpkg", "1").arch("amd64").essential()).write(&root, &key);
    bench.write("archive.asc", &key.armored());
    let server = Server::start(&root);
    let tree = ["dpkg", "vim", "tree"].map(|name| installed(name, "amd64")).concat() + &installed("docs", "all");
    bench.write("old/var/lib/dpkg/status", &tree);
    let states = "var/lib/apt/extended_states";
    let built = |include: &str| {
        bench.write("next.toml", &RECIPE.replace("MIRROR", &server.url("")).replace("INCLUDE", include));
        bench.ok(&["build", "next.toml"]);
        let found = fs::read_to_string(bench.path("out/next").join(states)).unwrap();
        fs::remove_dir_all(bench.path("out/next")).unwrap();
        found
    };
    bench.write(&format!("old/{states}"), &automatic(&["docs", "tree", "vim"]));
    assert_eq!(built(""), automatic(&["docs", "tree", "vim"]));
    assert_eq!(built("\"tree\""), automatic(&["docs", "vim"]));
    assert_eq!(built("\"tree:amd64\", \"docs\", \"vim=1\""), "");
    let lock = fs::read_to_string(bench.path("next.lock")).unwrap();
    assert_eq!(lock.matches("manual = true, in_tree = true, promoted = true").count(), 3, "{lock}");
    // One that was asked for is nothing new.
    bench.write(&format!("old/{states}"), &automatic(&["vim"]));
    assert_eq!(built("\"tree\""), automatic(&["vim"]));
    let lock = fs::read_to_string(bench.path("next.lock")).unwrap();
    assert!(!lock.contains("promoted"), "{lock}");
}
