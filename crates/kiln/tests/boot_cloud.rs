//! Machines that cloud-init sets up: by a seed beside the image, as a cloud would give it, and by one in the image.

mod common;

use common::{Bench, json, tool};
use serde_json::Value;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g tester@desk";

/// What the seeds ask for: a name, a user with a key, a command.
fn user_data() -> String {
    format!(
        "#cloud-config\nhostname: crate-7\nusers:\n  - name: tester\n    shell: /bin/bash\n    \
         sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    ssh_authorized_keys:\n      - {KEY}\nruncmd:\n  - echo ran >> /var/lib/runs\n"
    )
}

/// What a guest must be that was told so; `source` is where it must have been told.
fn asserts(source: &str) -> String {
    let command = |run: &str, contains: &str| {
        format!("[[verify.assert]]\ncommand = '''{run}'''\ncontains = '''{contains}'''\n\n")
    };
    [
        "[[verify.assert]]\nno-failed-units = true\n\n".to_owned(),
        command("cloud-init status --long", source),
        command("hostname; getent hosts crate-7", "crate-7"),
        command("cat /var/lib/runs", "ran"),
        command("cat ~tester/.ssh/authorized_keys", KEY),
        command("runuser -u tester -- sudo -n id -un", "root"),
        command("ip -4 route show default", "10.0.2.2"),
        // The root has grown without cloud-init's help.
        command("test $(df --output=size -k / | tail -n 1) -gt 3000000 && echo grown", "grown"),
        command("grep -rh ^URIs: /etc/apt/sources.list.d; test ! -e /etc/apt/sources.list && echo kept", "kept"),
        "[[verify.assert]]\nport = 22\n".to_owned(),
    ]
    .concat()
}

fn recipe(name: &str, board: &str) -> String {
    format!(
        "edition = 1\nname = \"{name}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n"
    )
}

#[test]
fn boot_a_cloud_image_is_what_the_seed_beside_it_says() {
    let bench = Bench::shared();
    bench.write("cloud.toml", &(recipe("cloud", "cloud-x86_64") + &asserts("DataSourceNoCloud [seed=/dev/vdb]")));
    let done = bench.ok(&["build", "cloud.toml"]);
    assert_eq!(done.stdout, "out/cloud.qcow2\n");
    let image = bench.path("out/cloud.qcow2").display().to_string();
    tool("qemu-img", &["check", &image]);
    tool("qemu-img", &["resize", &image, "4G"]);
    bench.write("seed/user-data", &user_data());
    bench.write("seed/meta-data", "instance-id: first\n");
    let checked = bench.ok(&["boot", &image, "--check", "--json", "--cloud-init", "seed"]).stdout;
    let verified: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 10, "{verified}");
    let none = bench.run(&["boot", &image, "--check", "--cloud-init", "out"]).ended(1).stderr;
    assert!(none.contains("`out` holds no `user-data`"), "{none}");
}

/// A board with a FAT partition that any computer reads has the seed there.
#[test]
fn boot_an_image_is_what_its_own_seed_says() {
    let bench = Bench::shared();
    let disk = "[cloud-init]\nuser-data = \"user-data\"\n\n[packages]\ninclude = [\"openssh-server\"]\n\n\
                [disk]\nsize = \"4GiB\"\n\n\
                [[disk.partition]]\nname = \"esp\"\nmount = \"/boot/efi\"\n\n\
                [[disk.partition]]\nname = \"firmware\"\nfilesystem = \"fat\"\nmount = \"/boot/firmware\"\nsize = \"64MiB\"\n\n\
                [[disk.partition]]\nname = \"root\"\nmount = \"/\"\n\n[[output]]\nformat = \"raw\"\n\n[verify]\nboot = true\n\
                timeout = \"20min\"\n\n";
    let text = recipe("seeded", "generic-x86_64") + disk + &asserts("DataSourceNoCloud");
    bench.write("user-data", &user_data());
    bench.write("seeded.toml", &text);
    bench.ok(&["build", "seeded.toml"]);
    let verified = &json(&bench.path("out/seeded.report.json"))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 10, "{verified}");
}
