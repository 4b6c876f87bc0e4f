//! Runs a command in a tree, in the sandbox: `kiln-run TREE PROGRAM [ARGUMENT]…`.

use std::io::{IsTerminal, Write};

use kiln_sandbox::{Command, Enter, Namespaces, Sandbox, Status, Stream, enter};

fn main() {
    let entered = enter(&Enter::default()).unwrap_or_else(|error| {
        eprintln!("{error}: {:?}", error);
        std::process::exit(4)
    });
    let mut arguments = std::env::args().skip(1);
    let tree = arguments.next().expect("a tree");
    let mut command = Command::new(tree, arguments);
    command.terminal = std::io::stdin().is_terminal();
    let n: u32 = std::env::var("TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for _ in 1..n {
        Namespaces::new(&entered).run(&command, &mut |_, _| ()).unwrap();
    }
    let begin = std::time::Instant::now();
    let exit = Namespaces::new(&entered).run(&command, &mut |stream, bytes| {
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    });
    match exit {
        Ok(exit) => {
            eprintln!("{exit:?} {:?}", begin.elapsed());
            std::process::exit(if let Status::Code(code) = exit.status { code } else { 1 });
        }
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error).map(|source| source.to_string()));
            std::process::exit(4)
        }
    }
}
