//! What is too small for the packages of a lock.

use kiln_family::lock::{Lock, Locked};
use kiln_model::{Arch, Digest};
use kiln_plan::fits::misfits;

const MIB: u64 = 1 << 20;

fn lock(kernel: u64, installed: Option<u64>) -> Lock {
    let package = Locked {
        name: "linux-image-6.12-amd64".into(),
        version: "1".into(),
        architecture: "amd64".into(),
        repository: "main".into(),
        filename: "pool/kernel.deb".into(),
        size: kernel,
        installed,
        sha256: Digest::of(""),
        base: false,
        essential: false,
        manual: true,
        in_tree: false,
        promoted: false,
        why: "board".into(),
        source: None,
        source_version: None,
    };
    let (repositories, tools) = (vec![], vec![]);
    Lock {
        edition: 1,
        spec: Digest::of(""),
        architecture: Arch::Amd64,
        repositories,
        packages: vec![package],
        tools,
        downloads: vec![],
    }
}

fn told(disk: &str, lock: &Lock) -> Vec<String> {
    let text = format!(
        "edition = 1\nname = \"x\"\n\n[base]\nrelease = \"13\"\nboard = \"generic-x86_64\"\n\n{disk}\n\n\
         [[output]]\nformat = \"raw\"\n"
    );
    let completed = kiln_recipe::complete_text(&text).unwrap_or_else(|rejected| panic!("{rejected}"));
    let place = |place: &str| completed.locate(place).map_or(0, |place| place.line);
    misfits(&completed.spec, lock)
        .iter()
        .map(|one| format!("{}: {}; {}", place(&one.place), one.text, one.hint))
        .collect()
}

#[test]
fn lower_bounds_are_told_and_nothing_else() {
    let esp = "[disk]\nesp-size = \"40MiB\"";
    let own = |size: &str, further: &str| {
        format!(
            "[[disk.partition]]\nname = \"esp\"\nrole = \"esp\"\nmount = \"/efi\"\n\n\
             [[disk.partition]]\nname = \"r\"\nmount = \"/\"\nsize = \"{size}\"\n{further}"
        )
    };
    let var = "\n[[disk.partition]]\nname = \"var\"\nmount = \"/var\"\n";
    let (small, large, gigabyte) = (lock(90 * MIB, None), lock(150 * MIB, None), lock(MIB, Some(1000 * MIB)));
    assert_eq!(told(esp, &small), [""; 0]);
    assert_eq!(
        told(esp, &large),
        ["9: kernel and initrd take about 50 MiB, and `esp` has 40 MiB; say \"256MiB\" or more, or \"auto\""]
    );
    let root = "16: the packages take about 1000 MiB unpacked, and `r` has 500 MiB at most; \
                say \"auto\" or a larger size, or leave packages out";
    assert_eq!(told(&own("500MiB", ""), &gigabyte), [root]);
    assert_eq!(told(&own("950MiB", ""), &gigabyte), [""; 0], "what archives say is no more than about right");
    assert_eq!(told(&own("500MiB", var), &gigabyte), [""; 0], "nobody knows what is in /var");
    assert_eq!(told(&own("500MiB", "filesystem = \"erofs\"\n"), &gigabyte), [""; 0], "it is compressed");
    let script = "\n[[script]]\nafter = \"packages\"\ntext = \"rm -r /usr/share/doc\"\n";
    assert_eq!(told(&own("500MiB", script), &gigabyte), [""; 0], "scripts may remove things");
}
