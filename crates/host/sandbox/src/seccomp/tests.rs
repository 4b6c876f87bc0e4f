//! The filter is run here by an interpreter of our own: every rule of every machine is asked, and its neighbours.

use super::*;

/// Runs the filter as the kernel does; any jump out of it panics.
fn ask(code: &[sock_filter], machine: u32, number: u32, arguments: [u32; 2]) -> u32 {
    let word = |offset| match offset {
        NUMBER => number,
        MACHINE => machine,
        _ => arguments[((offset - ARGUMENTS) / 8) as usize],
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let step = code[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
        match u32::from(step.code) & !libc::BPF_K {
            c if c == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => value = word(step.k),
            c if c == libc::BPF_JMP | libc::BPF_JEQ => at += jump(value == step.k),
            c if c == libc::BPF_JMP | libc::BPF_JGT => at += jump(value > step.k),
            c if c == libc::BPF_JMP | libc::BPF_JSET => at += jump(value & step.k != 0),
            c if c == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
            c if c == libc::BPF_RET => return step.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn every_rule_answers_and_nothing_else_does() {
    for throwaway in [false, true] {
        let code = program(throwaway);
        assert!(code.len() < 4096);
        for calls in table::MACHINES {
            for number in 0..600 {
                let rule = calls.rules.iter().find(|(known, _)| *known == number).map(|(_, rule)| rule);
                let answer = ask(&code, calls.machine, number, [0x1000_0000, 0x5412]);
                let wanted = match rule {
                    None if number > 466 => errno(libc::ENOSYS),
                    None => ALLOW,
                    Some(Rule::Absent) => errno(libc::ENOSYS),
                    Some(Rule::Pretend) if throwaway => errno(0),
                    Some(Rule::Pretend | Rule::DenyValues { argument: 0, .. }) => ALLOW,
                    Some(_) => errno(libc::EPERM),
                };
                assert_eq!(answer, wanted, "call {number} of {:#x}: {rule:?}", calls.machine);
            }
        }
    }
}

#[test]
fn harmless_arguments_pass() {
    let code = program(false);
    let native = table::MACHINES[0].machine;
    let cases: [(i64, [u32; 2], u32); 8] = [
        (libc::SYS_clone, [libc::SIGCHLD as u32, 0], ALLOW),
        (libc::SYS_unshare, [libc::CLONE_FS as u32, 0], ALLOW),
        (libc::SYS_unshare, [libc::CLONE_NEWUSER as u32, 0], errno(libc::EPERM)),
        (libc::SYS_personality, [8, 0], ALLOW),
        (libc::SYS_personality, [0x40_0000, 0], errno(libc::EPERM)),
        (libc::SYS_socket, [libc::AF_UNIX as u32, 0], ALLOW),
        (libc::SYS_socket, [libc::AF_VSOCK as u32, 0], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_ioctl, [0, libc::TCGETS as u32], ALLOW),
    ];
    for (number, arguments, wanted) in cases {
        assert_eq!(ask(&code, native, number as u32, arguments), wanted, "{number} {arguments:?}");
    }
}

#[test]
fn unknown_machines_and_interfaces_are_refused() {
    let code = program(true);
    assert_eq!(ask(&code, 0xdead, 0, [0, 0]), KILL);
    let [x32, open_tree_attr] = [0x4000_0000, 467];
    for number in [x32, open_tree_attr, u32::MAX] {
        assert_eq!(ask(&code, table::MACHINES[0].machine, number, [0, 0]), errno(libc::ENOSYS), "{number}");
    }
}
