//! Real machines without a real system: the probe guest, and disks that do not boot.
//!
//! Not the usual harness: a sandbox is entered while the process has one thread, so this `main` enters and then runs the
//! cases itself. `cargo test --test boot_machine -- WORD` runs those whose name contains the word.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::exit;

use kiln_engine::boot::{Accel, Guest, Programs, accel, check, qemu};
use kiln_model::{FaultKind, GuestPath};
use kiln_recipe::spec::{Qemu, Verify};
use kiln_sandbox::{Command, Enter, Namespaces, Sandbox, Scratch, Status, Stream, enter};

type Case = (&'static str, fn(&dyn Sandbox, &Path));

const CASES: &[Case] = &[
    ("the_bytes_of_the_probe_guest_are_its_source", bytes),
    ("the_probe_guest_runs_to_its_end_under_emulation", emulated),
    ("the_probe_says_which_and_why", probed),
    ("an_empty_disk_is_told_from_a_slow_one", empty),
    ("a_silent_machine_is_a_fault_of_the_console", silent),
    ("a_guest_that_had_no_time_for_its_timer_is_started_anew", starved),
];

fn main() {
    if std::env::args().any(|word| word == "--list") {
        // For cargo-nextest, which asks for the ignored ones apart.
        if std::env::args().all(|word| word != "--ignored") {
            CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let entered = enter(&Enter::default()).expect("enter the sandbox");
    let sandbox = Namespaces::new(&entered);
    let arguments: Vec<String> = std::env::args().collect();
    // The usual harness's options have values that are no names.
    let named = |pair: &[String]| !pair[1].starts_with('-') && pair[0] != "--test-threads" && pair[0] != "--skip";
    let words: Vec<_> = arguments.windows(2).filter(|pair| named(pair)).map(|pair| pair[1].clone()).collect();
    let scratch = Scratch::new(Path::new(env!("CARGO_TARGET_TMPDIR")), "boot").expect("make a scratch folder");
    let mut failed = 0;
    for (name, case) in
        CASES.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())))
    {
        let folder = scratch.path().join(name);
        fs::create_dir(&folder).unwrap();
        let done = std::panic::catch_unwind(|| case(&sandbox, &folder));
        println!("{name} … {}", if done.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(done.is_err());
    }
    drop(scratch);
    exit(i32::from(failed > 0));
}

fn board(firmware: &str) -> Qemu {
    let text = str::to_owned;
    let (system, machine, cpu) = (text("x86_64"), text("q35"), text("max"));
    Qemu {
        system,
        machine,
        cpu,
        firmware: text(firmware),
        memory: 256,
        console: text("ttyS0"),
        serial: 0,
        bus: Default::default(),
        device_trees: vec![],
    }
}

fn programs(board: &Qemu) -> Programs {
    Programs::find(board, None).expect("qemu-system-x86 and ovmf are installed")
}

fn run(sandbox: &dyn Sandbox, command: &Command) -> (Status, String) {
    let mut said = Vec::new();
    let exit = sandbox.run(command, &mut |stream, bytes| {
        if stream == Stream::Stdout {
            said.extend_from_slice(bytes);
        }
    });
    (exit.expect("the sandbox runs").status, String::from_utf8_lossy(&said).into_owned())
}

fn bytes(sandbox: &dyn Sandbox, folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot/guest");
    let script = "as --64 /run/source/probe.s -o /run/out/probe.o && \
        ld -e 0 -Ttext 0 --oformat binary /run/out/probe.o -o /run/out/probe.bin";
    let at = |path: &str| GuestPath::new(path).unwrap();
    let mut command = Command::new("/", ["sh", "-c", script]).bind(&source, at("/run/source"), true).bind(
        folder,
        at("/run/out"),
        false,
    );
    command.read_only_root = true;
    assert_eq!(run(sandbox, &command).0, Status::Code(0), "binutils is installed");
    let made = fs::read(folder.join("probe.bin")).unwrap();
    assert!(made == fs::read(source.join("probe.bin")).unwrap(), "probe.bin is not what probe.s says");
}

fn emulated(sandbox: &dyn Sandbox, folder: &Path) {
    let rom = folder.join("probe.rom");
    fs::write(&rom, accel::firmware()).unwrap();
    for cpu in ["max", "qemu64"] {
        let board = Qemu { cpu: cpu.into(), ..board("none") };
        let argv = qemu::probe(&programs(&board).qemu.to_string(), &board, "/run/rom");
        let argv = argv.into_iter().map(|word| match word.as_str() {
            "kvm" => "tcg".to_owned(),
            "host" => "max".to_owned(),
            _ => word,
        });
        let mut command = Command::new("/", argv).bind(&rom, GuestPath::new("/run/rom").unwrap(), true);
        command.read_only_root = true;
        assert_eq!(run(sandbox, &command), (Status::Code(0x41), "PFLSBVAT".to_owned()), "{cpu}");
    }
}

fn probed(sandbox: &dyn Sandbox, folder: &Path) {
    let here = board("none");
    let choice = accel::probe(&programs(&here), &here, sandbox, folder).unwrap();
    println!("  {} since {}", choice.accel.name(), choice.why);
    assert_eq!(choice.accel == Accel::Kvm, choice.why == "a probe guest ran to its end");
    assert!(!choice.why.is_empty());
    let there = Qemu { system: "riscv64".into(), ..here.clone() };
    let choice = accel::probe(&programs(&here), &there, sandbox, folder).unwrap();
    assert_eq!(choice.accel, Accel::Tcg);
    assert!(choice.why.starts_with("the board is riscv64 and this machine "), "{}", choice.why);
}

/// Fails with a disk that begins with these bytes; says how, and what was told meanwhile.
fn fails(
    sandbox: &dyn Sandbox,
    folder: &Path,
    (firmware, timeout): (&str, u32),
    sector: &[u8],
) -> (FaultKind, String, Vec<String>) {
    let image = folder.join("empty.img");
    fs::write(&image, sector).unwrap();
    fs::File::options().write(true).open(&image).unwrap().set_len(64 << 20).unwrap();
    let board = board(firmware);
    let programs = programs(&board);
    let scratch = folder.join("scratch");
    fs::create_dir(&scratch).unwrap();
    let guest = Guest {
        image: &image,
        board: &board,
        programs: &programs,
        sandbox,
        scratch: &scratch,
        accel: Some(Accel::Tcg),
        seed: None,
        jobs: 2,
    };
    let verify = Verify { boot: true, timeout, firmware: Vec::new(), asserts: Vec::new() };
    let log = folder.join("console.log");
    let lines = RefCell::new(Vec::new());
    let told = |line: &str| lines.borrow_mut().push(line.to_owned());
    let fault = check(&guest, &verify, &log, &told).expect_err("no such disk boots");
    assert!(log.exists(), "the console is kept");
    let text = fault.chain();
    let (_, told) = text.split_once("`: ").expect("the image, then what happened");
    (fault.kind(), told.to_owned(), lines.into_inner())
}

fn empty(sandbox: &dyn Sandbox, folder: &Path) {
    let (kind, told, _) = fails(sandbox, folder, ("uefi", 300), &[]);
    assert_eq!((kind, &*told), (FaultKind::Package, "the firmware found nothing to boot"));
}

fn silent(sandbox: &dyn Sandbox, folder: &Path) {
    let (kind, told, _) = fails(sandbox, folder, ("none", 4), &[]);
    assert_eq!(kind, FaultKind::Package);
    assert!(told.starts_with("no word on the console after "), "{told}");
}

/// A boot sector that writes what Linux does, byte by byte, to the first serial port.
fn starved(sandbox: &dyn Sandbox, folder: &Path) {
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x16, 0x7c, // cli; ds = 0; si = text
        0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, // until 0: out 0x3f8, [si++]
        0xf4, 0xeb, 0xfd, // hlt for ever
    ];
    let text =
        b"\r\n..MP-BIOS bug: 8254 timer not connected to IO-APIC\r\nKernel panic - not syncing: IO-APIC + timer doesn't work!\r\n";
    let mut sector = [&code[..], text].concat();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let (kind, told, lines) = fails(sandbox, folder, ("none", 60), &sector);
    assert_eq!((kind, &*told), (FaultKind::Package, "the kernel panicked"));
    assert_eq!(lines.iter().filter(|line| line.contains("started anew")).count(), 2, "{lines:#?}");
}
