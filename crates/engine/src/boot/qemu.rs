//! QEMU's command line, as a value.

use kiln_recipe::spec::{Bus, Qemu};

use super::accel::Accel;
use super::videocore::Kernel;

/// Where the sandbox shows a boot's scratch folder to QEMU.
pub const SCRATCH: &str = "/run/kiln/scratch";
/// Where the sandbox shows the disk.
pub const DISK: &str = "/run/kiln/disk";

/// One machine, with nothing left open. Paths are those QEMU sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch<'a> {
    /// The program.
    pub qemu: String,
    pub board: &'a Qemu,
    pub accel: Accel,
    pub processors: u32,
    pub disk: String,
    /// `raw` or `qcow2`.
    pub format: &'a str,
    /// A disk that tells cloud-init what to do; only for machines with PCI.
    pub seed: Option<String>,
    /// Code and variables of a UEFI firmware.
    pub firmware: Option<(String, String)>,
    /// What the machine starts with where it has no firmware.
    pub kernel: Option<Kernel>,
    pub console: Console,
    /// systemd credentials for the guest, handed over in SMBIOS strings.
    pub credentials: &'a [(&'a str, &'a str)],
    /// Whether what the guest writes stays on the disk; else it is gone with the machine.
    pub keeps: bool,
}

/// Where the guest's serial console goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// The terminal, together with QEMU's monitor.
    Terminal,
    /// Unix sockets that QEMU listens on; the machine starts when somebody has come to `console`.
    Sockets { console: String, monitor: String },
}

/// Returns the program and its arguments.
pub fn command(launch: &Launch<'_>) -> Vec<String> {
    let mut argv = vec![launch.qemu.clone()];
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    let board = launch.board;
    add(&["-name", "kiln", "-nodefaults", "-no-user-config", "-display", "none"]);
    // A board has as many processors as it has. Where this machine has fewer, they take turns: a Raspberry Pi with four came up in
    // 104 s on one thread and in 120 s on two, which wait for each other. An Orange Pi stood still on one thread.
    let single = launch.accel == Accel::Tcg && launch.processors < 4 && board.firmware == "raspberry-pi";
    let accel = if single { "tcg,thread=single" } else { launch.accel.name() };
    add(&["-machine", &board.machine, "-accel", accel, "-cpu", launch.accel.processor(&board.cpu)]);
    if board.bus == Bus::Virtio {
        add(&["-smp", &launch.processors.to_string()]);
    }
    add(&["-m", &format!("{}M", board.memory)]);
    if let Some((code, vars)) = &launch.firmware {
        add(&["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", comma(code))]);
        add(&["-drive", &format!("if=pflash,unit=1,format=raw,file={}", comma(vars))]);
    }
    let snapshot = if launch.keeps { "off" } else { "on" };
    let disk = format!("snapshot={snapshot},format={},file={}", launch.format, comma(&launch.disk));
    match board.bus {
        Bus::Virtio => {
            add(&["-drive", &format!("if=none,id=disk,{disk}")]);
            add(&["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
            // Without the option ROM that boots from the network: nobody wants that, and it is a package of its own.
            add(&["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
            add(&["-device", "virtio-rng-pci"]);
        }
        Bus::Sd => add(&["-drive", &format!("if=sd,{disk}")]),
    }
    // The board's own network card, or one at its USB where that is how it has one.
    match (board.bus, board.firmware.as_str()) {
        (Bus::Virtio, _) => {}
        (Bus::Sd, "raspberry-pi") => add(&["-netdev", "user,id=net", "-device", "usb-net,netdev=net"]),
        (Bus::Sd, _) => add(&["-nic", "user"]),
    }
    if let Some(kernel) = &launch.kernel {
        // In the end Arm's 32-bit kernel makes its own pages read-only, one after the other and each for all processors, while the others
        // only wait for that: where they take turns it comes to three of thousands of pages a second.
        let alone = if single && board.system == "arm" { " maxcpus=1" } else { "" };
        let cmdline = format!("{}{alone}", kernel.cmdline);
        add(&["-kernel", &kernel.image, "-dtb", &kernel.device_tree, "-append", &cmdline]);
        kernel.initrd.iter().for_each(|initrd| add(&["-initrd", initrd]));
    }
    if let Some(seed) = &launch.seed {
        add(&["-drive", &format!("if=none,id=seed,readonly=on,format=raw,file={}", comma(seed))]);
        add(&["-device", "virtio-blk-pci,drive=seed"]);
    }
    for (name, value) in launch.credentials {
        add(&["-smbios", &format!("type=11,value=io.systemd.credential:{name}={}", comma(value))]);
    }
    (0..board.serial).for_each(|_| add(&["-serial", "null"]));
    match &launch.console {
        Console::Terminal => add(&["-serial", "mon:stdio"]),
        Console::Sockets { console, monitor } => {
            add(&["-chardev", &format!("socket,id=console,server=on,wait=on,path={}", comma(console))]);
            add(&["-serial", "chardev:console"]);
            add(&["-monitor", &format!("unix:{},server=on,wait=off", comma(monitor)), "-no-reboot"]);
        }
    }
    argv
}

/// Doubles commas, which end a value otherwise.
fn comma(text: &str) -> String {
    text.replace(',', ",,")
}

/// Returns the command line that starts the probe guest, whose firmware is at `rom`.
pub fn probe(qemu: &str, board: &Qemu, rom: &str) -> Vec<String> {
    let words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", &board.machine];
    let rest = ["-accel", "kvm", "-cpu", Accel::Kvm.processor(&board.cpu), "-m", "64M", "-bios", rom];
    let tell = ["-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
    let all = std::iter::once(qemu).chain(words).chain(rest).chain(tell);
    all.map(str::to_owned).collect()
}
