//! QEMU's command lines, and what the console of a real boot tells.

use kiln_engine::boot::accel::Accel;
use kiln_engine::boot::login::CREDENTIALS;
use kiln_engine::boot::prompt;
use kiln_engine::boot::qemu::{Console, Launch, command, probe};
use kiln_engine::boot::videocore::Kernel;
use kiln_recipe::spec::{Bus, Qemu};

fn board(system: &str, machine: &str, cpu: &str) -> Qemu {
    let text = str::to_owned;
    let (system, machine, cpu) = (text(system), text(machine), text(cpu));
    Qemu {
        system,
        machine,
        cpu,
        firmware: text("uefi"),
        memory: 2048,
        console: text("ttyS0"),
        serial: 0,
        bus: Default::default(),
        device_trees: vec![],
    }
}

fn sockets() -> Console {
    Console::Sockets { console: "/s/console.sock".into(), monitor: "/s/monitor.sock".into() }
}

#[test]
fn the_headless_machine() {
    let board = board("x86_64", "q35", "max");
    let launch = Launch {
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        board: &board,
        accel: Accel::Tcg,
        processors: 2,
        disk: "/run/kiln/disk".into(),
        format: "raw",
        seed: Some("/s/cidata.img".into()),
        firmware: Some(("/usr/share/OVMF/OVMF_CODE_4M.fd".into(), "/s/vars.fd".into())),
        kernel: None,
        keeps: false,
        console: sockets(),
        credentials: &CREDENTIALS,
    };
    let wanted = "/usr/bin/qemu-system-x86_64 -name kiln -nodefaults -no-user-config -display none -machine q35 -accel tcg \
        -cpu max -smp 2 -m 2048M -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
        -drive if=pflash,unit=1,format=raw,file=/s/vars.fd \
        -drive if=none,id=disk,snapshot=on,format=raw,file=/run/kiln/disk -device virtio-blk-pci,drive=disk,bootindex=0 \
        -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci \
        -drive if=none,id=seed,readonly=on,format=raw,file=/s/cidata.img -device virtio-blk-pci,drive=seed \
        -smbios type=11,value=io.systemd.credential:agetty.autologin=root \
        -smbios type=11,value=io.systemd.credential:login.noauth=yes \
        -chardev socket,id=console,server=on,wait=on,path=/s/console.sock -serial chardev:console \
        -monitor unix:/s/monitor.sock,server=on,wait=off -no-reboot";
    assert_eq!(command(&launch).join(" "), wanted);
}

#[test]
fn the_machine_in_the_terminal() {
    let board = board("aarch64", "virt", "cortex-a72");
    let launch = Launch {
        qemu: "/usr/bin/qemu-system-aarch64".into(),
        board: &board,
        accel: Accel::Tcg,
        processors: 4,
        disk: "/a,b".into(),
        format: "qcow2",
        seed: None,
        firmware: None,
        kernel: None,
        keeps: false,
        console: Console::Terminal,
        credentials: &[],
    };
    let wanted = "/usr/bin/qemu-system-aarch64 -name kiln -nodefaults -no-user-config -display none -machine virt -accel tcg \
        -cpu cortex-a72 -smp 4 -m 2048M -drive if=none,id=disk,snapshot=on,format=qcow2,file=/a,,b \
        -device virtio-blk-pci,drive=disk,bootindex=0 -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci \
        -serial mon:stdio";
    assert_eq!(command(&launch).join(" "), wanted);
}

#[test]
fn the_board_with_a_memory_card() {
    let board = Qemu { bus: Bus::Sd, memory: 1024, ..board("arm", "orangepi-pc", "cortex-a7") };
    let launch = Launch {
        qemu: "/usr/bin/qemu-system-arm".into(),
        board: &board,
        accel: Accel::Tcg,
        processors: 2,
        disk: "/card".into(),
        format: "raw",
        seed: None,
        firmware: None,
        kernel: None,
        keeps: false,
        console: Console::Terminal,
        credentials: &[],
    };
    let wanted = "/usr/bin/qemu-system-arm -name kiln -nodefaults -no-user-config -display none -machine orangepi-pc -accel tcg \
        -cpu cortex-a7 -m 1024M -drive if=sd,snapshot=on,format=raw,file=/card -nic user -serial mon:stdio";
    assert_eq!(command(&launch).join(" "), wanted);
}

#[test]
fn the_board_whose_firmware_kiln_is() {
    let board = Qemu {
        bus: Bus::Sd,
        firmware: "raspberry-pi".into(),
        serial: 1,
        memory: 1024,
        ..board("aarch64", "raspi3b", "cortex-a53")
    };
    let text = str::to_owned;
    let kernel = Kernel {
        image: text("/s/kernel"),
        initrd: Some(text("/s/initrd")),
        device_tree: text("/s/board.dtb"),
        cmdline: text("console=ttyS1 rw"),
    };
    let mut launch = Launch {
        qemu: "/q".into(),
        board: &board,
        accel: Accel::Tcg,
        processors: 4,
        disk: "/card".into(),
        format: "raw",
        firmware: None,
        kernel: Some(kernel),
        keeps: false,
        console: Console::Terminal,
        credentials: &[],
        seed: None,
    };
    let wanted = "/q -name kiln -nodefaults -no-user-config -display none -machine raspi3b -accel tcg -cpu cortex-a53 -m 1024M \
        -drive if=sd,snapshot=on,format=raw,file=/card -netdev user,id=net -device usb-net,netdev=net \
        -kernel /s/kernel -dtb /s/board.dtb -append console=ttyS1 rw -initrd /s/initrd -serial null -serial mon:stdio";
    assert_eq!(command(&launch).join(" "), wanted);

    launch.processors = 2;
    let taking_turns = wanted.replace("-accel tcg", "-accel tcg,thread=single");
    assert_eq!(command(&launch).join(" "), taking_turns, "four processors of the board, two of the machine");
    let narrow = Qemu { system: "arm".into(), ..board.clone() };
    let alone = taking_turns.replace("console=ttyS1 rw", "console=ttyS1 rw maxcpus=1");
    assert_eq!(command(&Launch { board: &narrow, ..launch.clone() }).join(" "), alone, "a kernel for 32 bits");
    launch.accel = Accel::Kvm;
    let accelerated = wanted.replace("-accel tcg", "-accel kvm");
    assert_eq!(command(&launch).join(" "), accelerated);
}

#[test]
fn the_probe_guest_sees_the_machine_and_processor_of_the_boot() {
    let wanted = "/q -nodefaults -no-user-config -display none -no-reboot -machine q35 -accel kvm -cpu host -m 64M -bios /r \
        -debugcon stdio -device isa-debug-exit,iobase=0xf4,iosize=1";
    assert_eq!(probe("/q", &board("x86_64", "q35", "max"), "/r").join(" "), wanted);
    assert!(probe("/q", &board("x86_64", "q35", "Haswell"), "/r").contains(&"Haswell".to_owned()));
}

/// From a boot of Debian 13 under emulation, escape sequences and all.
const CONSOLE: &str = include_str!("data/console-debian13.log");

#[test]
fn the_prompt_is_seen_when_it_comes_and_not_before() {
    let at = CONSOLE.find(" login:").unwrap() + " login:".len();
    let (before, until) = (&CONSOLE[..at - 1], &CONSOLE[..at]);
    assert!(!prompt::login(before, Some("kilntest")) && !prompt::login(before, None));
    assert!(prompt::login(until, Some("kilntest")) && prompt::login(until, None));
    assert!(!prompt::login(CONSOLE, Some("test")), "another machine's prompt");
    assert_eq!(prompt::trouble(CONSOLE), None);
}

#[test]
fn what_looks_like_a_prompt() {
    let cases = [
        ("host login: ", Some("host"), true),
        ("[  1.5] random: crng init done host login: ", Some("host"), true),
        ("\x1b[0m\x1b[1;1Hhost login:", Some("host"), true),
        ("Last login: Fri Nov 20 on ttyS0", None, false),
        ("other-host login:", Some("host"), false),
        ("a.example.org login:", Some("a.example.org"), true),
        ("a login:", Some("a.example.org"), true),
        ("example login:", Some("a.example.org"), false),
    ];
    for (text, hostname, wanted) in cases {
        assert_eq!(prompt::login(text, hostname), wanted, "{text:?}");
    }
}

#[test]
fn signs_of_trouble_have_a_meaning() {
    let panic = "[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
    let emergency = "You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\n";
    let initrd = "ALERT!  LABEL=root does not exist.  Dropping to a shell!\r\n(initramfs) ";
    assert_eq!(prompt::trouble(panic), Some("the kernel panicked"));
    assert_eq!(prompt::trouble(emergency), Some("systemd fell back to emergency mode"));
    assert_eq!(prompt::trouble(initrd), Some("the initrd found no root filesystem"));
}

#[test]
fn lines_are_shown_plain() {
    assert_eq!(prompt::plain("\x1b[0;32m  OK  \x1b[0m] x\x1b]0;title\x07y\x1b(B\r"), "  OK  ] xy");
    assert_eq!(prompt::tail("a\n\n\x1b[m\nb\nc\n", 2), ["b", "c"]);
}
