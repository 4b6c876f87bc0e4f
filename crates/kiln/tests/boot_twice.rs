//! What a device does once: its second start finds the identity that its first has made, and nothing is set up again.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, tool};

/// Tells on the console what must stay, then switches the machine off.
const TELL: &str = "#!/bin/sh\ncloud-init status --wait >/dev/null\nexec >/dev/ttyS0\n\
                    echo \"told machine $(cat /etc/machine-id)\"\n\
                    for key in /etc/ssh/ssh_host_*.pub; do echo \"told $(ssh-keygen -lf $key)\"; done\n\
                    echo \"told runs $(wc -l </var/lib/runs)\"\necho told all\nsystemctl poweroff\n";
const UNIT: &str = "[Service]\nExecStart=/usr/local/bin/tell\n\n[Install]\nWantedBy=multi-user.target\n";

fn recipe() -> String {
    format!(
        "edition = 1\nname = \"twice\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"generic-x86_64\"\n\
         security = false\nupdates = false\n\n[packages]\ninclude = [\"openssh-server\"]\n\n[cloud-init]\nuser-data = \"user-data\"\n\n\
         [[file]]\npath = \"/usr/local/bin/tell\"\nmode = \"0755\"\ntext = '''{TELL}'''\n\n\
         [[file]]\npath = \"/etc/systemd/system/tell.service\"\ntext = '''{UNIT}'''\n\n\
         [services]\nenable = [\"tell\"]\n\n[[output]]\nformat = \"raw\"\n"
    )
}

#[test]
fn boot_identities_are_made_once() {
    let bench = Bench::shared();
    bench.write("user-data", "#cloud-config\nruncmd:\n  - echo ran >> /var/lib/runs\n");
    bench.write("twice.toml", &recipe());
    bench.ok(&["build", "twice.toml"]);
    let image = bench.path("out/twice.raw");
    tool("truncate", &["--size", "3G", image.to_str().unwrap()]);
    let first = told(&bench, &image, "first");
    let second = told(&bench, &image, "second");
    assert_eq!(first.last().unwrap(), "told all", "{first:?}");
    assert!(first[0].starts_with("told machine ") && first[0].len() == "told machine ".len() + 32, "{first:?}");
    assert!(first.iter().any(|line| line.ends_with("(ED25519)")), "{first:?}");
    assert!(first.contains(&"told runs 1".to_owned()), "{first:?}");
    assert_eq!(first, second);
}

/// Runs a machine on the disk itself until it is off, and returns what it told.
fn told(bench: &Bench, image: &Path, name: &str) -> Vec<String> {
    let (vars, console) = (bench.path("vars.fd"), bench.path(name));
    if !vars.exists() {
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
    }
    let file = |path: &Path| format!("format=raw,file={}", path.display());
    let mut machine = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2"])
        .args(["-m", "1024", "-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci"])
        .args(["-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"])
        .args(["-drive", &format!("if=pflash,unit=1,{}", file(&vars))])
        .args(["-drive", &format!("if=virtio,{}", file(image))])
        .args(["-serial", &format!("file:{}", console.display())])
        .stdin(Stdio::null())
        .spawn()
        .expect("`scripts/setup --tests` installs QEMU");
    let deadline = Instant::now() + Duration::from_secs(900);
    while machine.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            machine.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let text = fs::read_to_string(&console).map_or_else(|error| error.to_string(), |text| text.replace('\r', ""));
    let told: Vec<String> = text.lines().filter_map(|line| Some(line[line.find("told ")?..].to_owned())).collect();
    assert!(!told.is_empty(), "{}", text.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
    told
}
