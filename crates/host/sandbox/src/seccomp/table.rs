//! Which system calls are refused, on which machine.

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Deny,
    /// As on a kernel that does not know the call, so that programs use the older one.
    Absent,
    /// Succeeds without doing anything when the tree is throw-away.
    Pretend,
    /// Refused when the argument has one of the bits.
    DenyBits {
        argument: u32,
        bits: u32,
    },
    DenyValues {
        argument: u32,
        values: &'static [u32],
        with: i32,
    },
    OnlyValues {
        argument: u32,
        values: &'static [u32],
    },
}

use Rule::{Absent, Deny, Pretend};

/// The last call this table knows, `removexattrat`: later ones, whose dangers nobody has looked at, do not exist here. The numbers
/// of all machines agree from 424 on.
pub(super) const LAST: u32 = 466;

/// The calls of one machine.
pub(super) struct Calls {
    /// Audit architecture, as in `AUDIT_ARCH_X86_64`.
    pub machine: u32,
    pub rules: &'static [(u32, Rule)],
}

const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// clone takes the signal in the bits that unshare takes for a time namespace.
const CLONE: Rule = Rule::DenyBits { argument: 0, bits: NAMESPACES };
const UNSHARE: Rule = Rule::DenyBits { argument: 0, bits: NAMESPACES | 0x80 };

/// Plain Linux, 32-bit Linux, either without address randomisation as configure scripts test it, and the question.
const PERSONALITY: Rule =
    Rule::OnlyValues { argument: 0, values: &[0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0xffff_ffff] };

/// Virtual machine sockets know no network namespace; the kernel's cipher sockets have a history.
const SOCKET: Rule =
    Rule::DenyValues { argument: 0, values: &[libc::AF_ALG as u32, libc::AF_VSOCK as u32], with: libc::EAFNOSUPPORT };

/// Typing for the terminal's owner: TIOCSTI, TIOCLINUX.
const IOCTL: Rule = Rule::DenyValues { argument: 1, values: &[0x5412, 0x541c], with: libc::EPERM };

macro_rules! native {
    ($($name:ident $rule:expr),* $(,)?) => { &[$((libc::$name as u32, $rule)),*] };
}

#[cfg(target_arch = "x86_64")]
pub(super) const MACHINES: &[Calls] =
    &[Calls { machine: 0xc000_003e, rules: X86_64 }, Calls { machine: 0x4000_0003, rules: I386 }];

#[cfg(target_arch = "aarch64")]
pub(super) const MACHINES: &[Calls] = &[Calls { machine: 0xc000_00b7, rules: COMMON }];

#[cfg(target_arch = "riscv64")]
pub(super) const MACHINES: &[Calls] = &[Calls { machine: 0xc000_00f3, rules: COMMON }];

/// What every machine has, under its own number.
#[cfg(not(target_arch = "x86_64"))]
const COMMON: &[(u32, Rule)] = native![
    SYS_acct Deny, SYS_add_key Deny, SYS_adjtimex Deny, SYS_bpf Deny, SYS_clock_adjtime Deny,
    SYS_clock_settime Deny, SYS_clone CLONE, SYS_clone3 Absent, SYS_delete_module Deny,
    SYS_fanotify_init Deny, SYS_fdatasync Pretend, SYS_finit_module Deny, SYS_fsconfig Deny,
    SYS_fsmount Deny, SYS_fsopen Deny, SYS_fspick Deny, SYS_fsync Pretend, SYS_init_module Deny,
    SYS_io_uring_enter Absent, SYS_io_uring_register Absent, SYS_io_uring_setup Absent,
    SYS_ioctl IOCTL, SYS_kcmp Deny, SYS_kexec_file_load Deny, SYS_kexec_load Deny, SYS_keyctl Deny,
    SYS_lookup_dcookie Deny, SYS_mbind Deny, SYS_migrate_pages Deny, SYS_mount Deny,
    SYS_mount_setattr Deny, SYS_move_mount Deny, SYS_move_pages Deny, SYS_msync Pretend,
    SYS_nfsservctl Deny, SYS_open_by_handle_at Deny, SYS_open_tree Deny, SYS_perf_event_open Deny,
    SYS_personality PERSONALITY, SYS_pidfd_getfd Deny, SYS_pivot_root Deny,
    SYS_process_madvise Deny, SYS_process_vm_readv Deny, SYS_process_vm_writev Deny,
    SYS_ptrace Deny, SYS_quotactl Deny, SYS_quotactl_fd Deny, SYS_reboot Deny,
    SYS_request_key Deny, SYS_set_mempolicy Deny, SYS_setns Deny, SYS_settimeofday Deny,
    SYS_socket SOCKET, SYS_swapoff Deny, SYS_swapon Deny, SYS_sync Pretend,
    SYS_sync_file_range Pretend, SYS_syncfs Pretend, SYS_syslog Deny, SYS_umount2 Deny,
    SYS_unshare UNSHARE, SYS_userfaultfd Deny, SYS_vhangup Deny,
];

#[cfg(target_arch = "x86_64")]
const X86_64: &[(u32, Rule)] = native![
    SYS_acct Deny, SYS_add_key Deny, SYS_adjtimex Deny, SYS_bpf Deny, SYS_clock_adjtime Deny,
    SYS_clock_settime Deny, SYS_clone CLONE, SYS_clone3 Absent,
    SYS_delete_module Deny, SYS_fanotify_init Deny, SYS_fdatasync Pretend, SYS_finit_module Deny,
    SYS_fsconfig Deny, SYS_fsmount Deny, SYS_fsopen Deny, SYS_fspick Deny, SYS_fsync Pretend,
 SYS_init_module Deny, SYS_io_uring_enter Absent,
    SYS_io_uring_register Absent, SYS_io_uring_setup Absent, SYS_ioctl IOCTL, SYS_ioperm Deny,
    SYS_iopl Deny, SYS_kcmp Deny, SYS_kexec_file_load Deny, SYS_kexec_load Deny, SYS_keyctl Deny,
    SYS_lookup_dcookie Deny, SYS_mbind Deny, SYS_migrate_pages Deny, SYS_mount Deny,
    SYS_mount_setattr Deny, SYS_move_mount Deny, SYS_move_pages Deny, SYS_msync Pretend,
    SYS_nfsservctl Deny, SYS_open_by_handle_at Deny, SYS_open_tree Deny, SYS_perf_event_open Deny,
    SYS_personality PERSONALITY, SYS_pidfd_getfd Deny, SYS_pivot_root Deny,
    SYS_process_madvise Deny, SYS_process_vm_readv Deny, SYS_process_vm_writev Deny,
    SYS_ptrace Deny, SYS_quotactl Deny, SYS_quotactl_fd Deny,
    SYS_reboot Deny, SYS_request_key Deny, SYS_set_mempolicy Deny, SYS_setns Deny,
    SYS_settimeofday Deny, SYS_socket SOCKET, SYS_swapoff Deny, SYS_swapon Deny,
    SYS_sync Pretend, SYS_sync_file_range Pretend, SYS_syncfs Pretend, SYS_syslog Deny,
    SYS_umount2 Deny, SYS_unshare UNSHARE, SYS_uselib Deny, SYS_userfaultfd Deny, SYS_vhangup Deny,
];

/// Packages of i386 run natively beside those of amd64; the numbers are from the kernel's `unistd_32.h`.
#[cfg(target_arch = "x86_64")]
const I386: &[(u32, Rule)] = &[
    (21, Deny),         // mount
    (22, Deny),         // umount
    (25, Deny),         // stime
    (26, Deny),         // ptrace
    (36, Pretend),      // sync
    (51, Deny),         // acct
    (52, Deny),         // umount2
    (54, IOCTL),        // ioctl
    (79, Deny),         // settimeofday
    (86, Deny),         // uselib
    (87, Deny),         // swapon
    (88, Deny),         // reboot
    (101, Deny),        // ioperm
    (103, Deny),        // syslog
    (110, Deny),        // iopl
    (111, Deny),        // vhangup
    (113, Deny),        // vm86old
    (115, Deny),        // swapoff
    (118, Pretend),     // fsync
    (120, CLONE),       // clone
    (124, Deny),        // adjtimex
    (127, Deny),        // create_module
    (128, Deny),        // init_module
    (129, Deny),        // delete_module
    (130, Deny),        // get_kernel_syms
    (131, Deny),        // quotactl
    (136, PERSONALITY), // personality
    (144, Pretend),     // msync
    (148, Pretend),     // fdatasync
    (166, Deny),        // vm86
    (167, Deny),        // query_module
    (169, Deny),        // nfsservctl
    (217, Deny),        // pivot_root
    (253, Deny),        // lookup_dcookie
    (264, Deny),        // clock_settime
    (274, Deny),        // mbind
    (276, Deny),        // set_mempolicy
    (283, Deny),        // kexec_load
    (286, Deny),        // add_key
    (287, Deny),        // request_key
    (288, Deny),        // keyctl
    (294, Deny),        // migrate_pages
    (310, UNSHARE),     // unshare
    (314, Pretend),     // sync_file_range
    (317, Deny),        // move_pages
    (336, Deny),        // perf_event_open
    (338, Deny),        // fanotify_init
    (342, Deny),        // open_by_handle_at
    (343, Deny),        // clock_adjtime
    (344, Pretend),     // syncfs
    (346, Deny),        // setns
    (347, Deny),        // process_vm_readv
    (348, Deny),        // process_vm_writev
    (349, Deny),        // kcmp
    (350, Deny),        // finit_module
    (357, Deny),        // bpf
    (359, SOCKET),      // socket
    (374, Deny),        // userfaultfd
    (404, Deny),        // clock_settime64
    (405, Deny),        // clock_adjtime64
    (425, Absent),      // io_uring_setup
    (426, Absent),      // io_uring_enter
    (427, Absent),      // io_uring_register
    (428, Deny),        // open_tree
    (429, Deny),        // move_mount
    (430, Deny),        // fsopen
    (431, Deny),        // fsconfig
    (432, Deny),        // fsmount
    (433, Deny),        // fspick
    (435, Absent),      // clone3
    (438, Deny),        // pidfd_getfd
    (440, Deny),        // process_madvise
    (442, Deny),        // mount_setattr
    (443, Deny),        // quotactl_fd
];
