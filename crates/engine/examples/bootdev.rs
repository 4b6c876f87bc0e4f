use kiln_engine::boot::*;
use kiln_recipe::spec::*;
use kiln_sandbox::*;
fn main() {
    let entered = enter(&Enter::default()).unwrap();
    let sandbox = Namespaces::new(&entered);
    let mut args = std::env::args().skip(1);
    let image = std::path::PathBuf::from(args.next().unwrap());
    let timeout = args.next().and_then(|t| t.parse().ok()).unwrap_or(180);
    let asserts: Vec<Assert> = args.next().map(|t| serde_json::from_str(&t).unwrap()).unwrap_or_default();
    let t = |s: &str| s.to_owned();
    let board = Qemu {
        system: t("x86_64"),
        machine: t("q35"),
        cpu: t("max"),
        firmware: t(&std::env::var("FW").unwrap_or("uefi".into())),
        memory: 1024,
        console: t("ttyS0"),
    };
    let tools = std::env::var_os("TOOLS").map(std::path::PathBuf::from);
    let programs = match &tools {
        Some(t) => Programs::below(t, &board).unwrap(),
        None => Programs::find(&board, None).unwrap(),
    };
    let scratch = Scratch::new(std::path::Path::new("/tmp/bootimg/scratch"), "boot").unwrap();
    let guest = Guest {
        image: &image,
        board: &board,
        programs: &programs,
        sandbox: &sandbox,
        scratch: scratch.path(),
        accel: None,
    };
    if std::env::var_os("TTY").is_some() {
        println!("{:?}", interactive(&guest, &|l| eprintln!("{l}")));
        return;
    }
    let verify = Verify { boot: true, timeout, asserts };
    let quiet = std::env::var_os("QUIET").is_some();
    let r = check(&guest, &verify, std::path::Path::new("/tmp/bootimg/console.log"), &|l| {
        if !quiet {
            println!("| {l}")
        }
    });
    match r {
        Ok(v) => println!("{}", serde_json::to_string_pretty(&v).unwrap()),
        Err(f) => {
            println!("FAULT {:?} {}\n{}\nhint {:?}", f.kind(), f.chain(), f.detail_text().unwrap_or(""), f.hint_text());
            std::process::exit(1)
        }
    }
}
