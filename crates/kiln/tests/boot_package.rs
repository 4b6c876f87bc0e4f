//! kiln's Debian package, made by kiln: installed in an image that kiln makes, and started there by systemd.

mod common;

use common::{Bench, tool};

const RECIPE: &str = "edition = 1\nname = \"service\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"amd64\"\n\
     board = \"generic-x86_64\"\nsecurity = false\nupdates = false\n\n[packages]\ninclude = [\"curl\", \"dbus\"]\nfiles = [\"kiln.deb\"]\n\n\
     [services]\nenable = [\"kiln-serve\"]\n\n[network]\ndhcp = true\n\n[[output]]\nformat = \"raw\"\n\n[verify]\nboot = true\n";

/// A build service that was never set up: it comes up, its first link and token open it, it survives, and it says what is wrong.
const HOLDS: [(&str, &str); 10] = [
    ("dpkg --audit; dpkg-query -W -f '${Status}' kiln; grep ^kiln: /etc/subuid", "install ok installed"),
    ("systemctl is-active kiln-serve && systemctl show -p NotifyAccess,Type kiln-serve", "Type=notify"),
    ("curl -fsS http://127.0.0.1:8080/ready && stat -c %U:%a /var/lib/kiln /var/lib/kiln/admin.token", "kiln:600"),
    ("journalctl -u kiln-serve -o cat", "/welcome/"),
    (
        "printf 'edition = 1\\nnonsense = 1\\n' >bad.toml; KILN_TOKEN=$(cat /var/lib/kiln/admin.token) kiln submit bad.toml \
         --server http://127.0.0.1:8080 2>&1; test $? = 1",
        "unknown key `nonsense`",
    ),
    (
        "curl -fsS -H \"authorization: Bearer $(cat /var/lib/kiln/admin.token)\" http://127.0.0.1:8080/api/v1/nodes",
        "\"amd64\"",
    ),
    (
        // Another node, as an administrator lets one in and the machine's own service brings it.
        "mkdir -p /etc/kiln; curl -fsS -H \"authorization: Bearer $(cat /var/lib/kiln/admin.token)\" -H 'content-type: application/json' \
         -d '{\"name\":\"another\"}' http://127.0.0.1:8080/api/v1/nodes | sed 's/.*\"credential\":\"\\([^\"]*\\).*/\\1/' \
         >/etc/kiln/node.credential; chmod 600 /etc/kiln/node.credential; echo KILN_SERVER=http://127.0.0.1:8080 >/etc/kiln/node.env; \
         systemctl start kiln-node; sleep 2; systemctl is-active kiln-node; curl -fsS -H \"authorization: Bearer $(cat \
         /var/lib/kiln/admin.token)\" http://127.0.0.1:8080/api/v1/nodes | tr '{' '\\n' | grep another",
        "\"state\":\"ready\"",
    ),
    (
        "systemctl stop kiln-node; systemctl is-active kiln-node; systemctl show -p Result kiln-node; stat -c %U:%a /var/lib/kiln-node",
        "Result=success",
    ),
    (
        "systemctl kill -s KILL kiln-serve; sleep 5; curl -fsS --retry 20 --retry-all-errors http://127.0.0.1:8080/ready; systemctl \
      show -p NRestarts kiln-serve",
        "NRestarts=1",
    ),
    (
        "systemctl stop kiln-serve; systemctl is-active kiln-serve; systemctl show -p Result kiln-serve",
        "Result=success",
    ),
];

#[test]
fn boot_the_package_of_kiln() {
    let bench = Bench::shared();
    let about = tool("dpkg-deb", &["--info", &bench.package_of_kiln("kiln.deb")]);
    assert!(about.contains("Package: kiln") && about.contains("uidmap"), "{about}");

    let assert = |(command, contains): &(&str, &str)| {
        format!("\n[[verify.assert]]\ncommand = '''{command}'''\ncontains = {contains:?}\ntimeout = \"2min\"\n")
    };
    bench.write("service.toml", &(RECIPE.to_owned() + &HOLDS.iter().map(assert).collect::<String>()));
    bench.ok(&["build", "--no-verify", "service.toml"]);
    let verified: serde_json::Value =
        serde_json::from_str(&bench.ok(&["boot", "out/service.raw", "--check", "--json"]).stdout).unwrap();
    assert_eq!(verified["held"].as_array().unwrap().len(), HOLDS.len(), "{verified}");
}
