//! `kiln relay`, which people do not call: it lives beside a build and tells Redis of it, its end in any case.

use std::io;

use crate::command::Outcome;

pub fn run() -> Outcome {
    kiln_sandbox::stay();
    Ok(kiln_adapter_pieman::relay_main(io::stdin(), io::stdout()))
}
