//! The filter of system calls: container engines' usual refusals, and answers without work for a throw-away tree.

mod table;

use libc::sock_filter;
use table::{Calls, Rule};

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENTS: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Returns the filter; with `throwaway` fsync and its sisters succeed without doing anything.
pub(crate) fn program(throwaway: bool) -> Vec<sock_filter> {
    let mut code = vec![load(MACHINE)];
    for calls in table::MACHINES {
        let block = block(calls, throwaway);
        code.push(jump(libc::BPF_JEQ, calls.machine, 1, 0));
        code.push(always(block.len() as u32));
        code.extend(block);
    }
    code.push(answer(KILL));
    code
}

/// Decides every call of one machine.
fn block(calls: &Calls, throwaway: bool) -> Vec<sock_filter> {
    // The numbers of x32, an interface that does not exist here, lie beyond the last too.
    let mut code = vec![load(NUMBER), jump(libc::BPF_JGT, table::LAST, 0, 1), answer(errno(libc::ENOSYS))];
    for (number, rule) in calls.rules {
        let body = rule.code(throwaway);
        if !body.is_empty() {
            code.push(jump(libc::BPF_JEQ, *number, 0, body.len() as u8));
            code.extend(body);
        }
    }
    code.push(answer(ALLOW));
    code
}

impl Rule {
    /// Returns instructions that always end in an answer, or none when the rule does not apply.
    fn code(self, throwaway: bool) -> Vec<sock_filter> {
        match self {
            Self::Deny => vec![answer(errno(libc::EPERM))],
            Self::Absent => vec![answer(errno(libc::ENOSYS))],
            Self::Pretend if throwaway => vec![answer(errno(0))],
            Self::Pretend => Vec::new(),
            Self::DenyBits { argument, bits } => vec![
                load(ARGUMENTS + 8 * argument),
                jump(libc::BPF_JSET, bits, 0, 1),
                answer(errno(libc::EPERM)),
                answer(ALLOW),
            ],
            Self::DenyValues { argument, values, with } => {
                let mut code = vec![load(ARGUMENTS + 8 * argument)];
                for value in values {
                    code.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(errno(with))]);
                }
                code.push(answer(ALLOW));
                code
            }
            Self::OnlyValues { argument, values } => {
                let mut code = vec![load(ARGUMENTS + 8 * argument)];
                for value in values {
                    code.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(ALLOW)]);
                }
                code.push(answer(errno(libc::EPERM)));
                code
            }
        }
    }
}

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// Loads the word at `offset`. The low half of an argument comes first on the little-endian machines kiln runs on.
fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, yes, no, value)
}

fn always(distance: u32) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance)
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
