//! The filter of a step's system calls: one table, compiled to classic BPF (security.md D9 and section 2).
//!
//! A listed call is refused with EPERM, a call that is newer than the table does not exist (ENOSYS), all others reach
//! the kernel. Each architecture has its own program part; x32 and unknown architectures end the process. Arguments
//! are compared by their low 32 bits, as the kernel uses them.

use std::sync::LazyLock;

use crate::SysError;

/// Whether packet sockets exist for a step: only in a network of its own (design D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketSockets {
    /// `AF_PACKET` works, as far as capabilities allow.
    Allowed,
    /// `AF_PACKET` is an unknown family.
    Refused,
}

/// A compiled filter.
#[derive(Debug)]
pub struct Program(Vec<libc::sock_filter>);

/// The filter for steps. Compiled once.
pub fn step_filter(packets: PacketSockets) -> &'static Program {
    static ALLOWED: LazyLock<Program> = LazyLock::new(|| compile(PacketSockets::Allowed));
    static REFUSED: LazyLock<Program> = LazyLock::new(|| compile(PacketSockets::Refused));
    match packets {
        PacketSockets::Allowed => &ALLOWED,
        PacketSockets::Refused => &REFUSED,
    }
}

impl Program {
    /// Puts the calling thread and what it starts under the filter, for ever.
    ///
    /// # Errors
    /// EACCES without CAP_SYS_ADMIN in the user namespace.
    pub fn install(&self) -> Result<(), SysError> {
        const SET_MODE_FILTER: libc::c_long = 1;
        let program =
            libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel copies the instructions, which outlive the call, and never writes to them.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) };
        match result {
            0 => Ok(()),
            _ => Err(SysError::last("seccomp(SECCOMP_SET_MODE_FILTER)")),
        }
    }
}

/// One architecture's numbers for the rules that look at arguments.
struct Arch {
    audit: u32,
    /// Index of its column in [`REFUSED`].
    column: usize,
    clone: u32,
    personality: u32,
    socket: u32,
    socketpair: u32,
    ioctl: u32,
    /// Calls that do not exist for a step.
    missing: &'static [u32],
    /// Calls from this number on are a foreign ABI (x32).
    foreign_from: Option<u32>,
}

const X86_64: Arch = Arch {
    audit: 0xc000_003e,
    column: 0,
    clone: 56,
    personality: 135,
    socket: 41,
    socketpair: 53,
    ioctl: 16,
    missing: &[CLONE3, STATMOUNT, LISTMOUNT, MAP_SHADOW_STACK],
    foreign_from: Some(0x4000_0000),
};

const I386: Arch = Arch {
    audit: 0x4000_0003,
    column: 1,
    clone: 120,
    personality: 136,
    socket: 359,
    socketpair: 360,
    ioctl: 54,
    missing: &[CLONE3, STATMOUNT, LISTMOUNT, MAP_SHADOW_STACK, I386_SOCKETCALL],
    foreign_from: None,
};

const AARCH64: Arch = Arch {
    audit: 0xc000_00b7,
    column: 2,
    clone: 220,
    personality: 92,
    socket: 198,
    socketpair: 199,
    ioctl: 29,
    missing: &[CLONE3, STATMOUNT, LISTMOUNT, MAP_SHADOW_STACK],
    foreign_from: None,
};

/// Its structure of arguments cannot be looked at, so programs must fall back to clone.
const CLONE3: u32 = 435;
const MAP_SHADOW_STACK: u32 = 453;
const STATMOUNT: u32 = 457;
const LISTMOUNT: u32 = 458;
/// Its arguments lie in memory; the separate calls exist since Linux 4.3.
const I386_SOCKETCALL: u32 = 102;

/// The first number that the table does not know: `listns` of Linux 6.18, on all three.
const UNKNOWN_FROM: u32 = 470;

/// No call of that name on this architecture.
const NONE: u32 = u32::MAX;

/// Refused with EPERM: name, then numbers on x86-64, i386 and aarch64.
const REFUSED: &[(&str, [u32; 3])] = &[
    ("_sysctl", [156, 149, NONE]),
    ("acct", [163, 51, 89]),
    ("add_key", [248, 286, 217]),
    ("bpf", [321, 357, 280]),
    ("clock_adjtime", [305, 343, 266]),
    ("clock_adjtime64", [NONE, 405, NONE]),
    ("clock_settime", [227, 264, 112]),
    ("clock_settime64", [NONE, 404, NONE]),
    ("create_module", [174, 127, NONE]),
    ("delete_module", [176, 129, 106]),
    ("fanotify_init", [300, 338, 262]),
    ("finit_module", [313, 350, 273]),
    ("fsconfig", [431, 431, 431]),
    ("fsmount", [432, 432, 432]),
    ("fsopen", [430, 430, 430]),
    ("fspick", [433, 433, 433]),
    ("get_kernel_syms", [177, 130, NONE]),
    ("get_mempolicy", [239, 275, 236]),
    ("init_module", [175, 128, 105]),
    ("io_uring_enter", [426, 426, 426]),
    ("io_uring_register", [427, 427, 427]),
    ("io_uring_setup", [425, 425, 425]),
    ("ioperm", [173, 101, NONE]),
    ("iopl", [172, 110, NONE]),
    ("kcmp", [312, 349, 272]),
    ("kexec_file_load", [320, NONE, 294]),
    ("kexec_load", [246, 283, 104]),
    ("keyctl", [250, 288, 219]),
    ("lookup_dcookie", [212, 253, 18]),
    ("mbind", [237, 274, 235]),
    ("migrate_pages", [256, 294, 238]),
    ("mount", [165, 21, 40]),
    ("mount_setattr", [442, 442, 442]),
    ("move_mount", [429, 429, 429]),
    ("move_pages", [279, 317, 239]),
    ("nfsservctl", [180, 169, 42]),
    ("open_by_handle_at", [304, 342, 265]),
    ("open_tree", [428, 428, 428]),
    ("open_tree_attr", [467, 467, 467]),
    ("perf_event_open", [298, 336, 241]),
    ("pidfd_getfd", [438, 438, 438]),
    ("pivot_root", [155, 217, 41]),
    ("process_madvise", [440, 440, 440]),
    ("query_module", [178, 167, NONE]),
    ("quotactl", [179, 131, 60]),
    ("quotactl_fd", [443, 443, 443]),
    ("reboot", [169, 88, 142]),
    ("request_key", [249, 287, 218]),
    ("set_mempolicy", [238, 276, 237]),
    ("set_mempolicy_home_node", [450, 450, 450]),
    ("setdomainname", [171, 121, 162]),
    ("sethostname", [170, 74, 161]),
    ("setns", [308, 346, 268]),
    ("settimeofday", [164, 79, 170]),
    ("stime", [NONE, 25, NONE]),
    ("swapoff", [168, 115, 225]),
    ("swapon", [167, 87, 224]),
    ("sysfs", [139, 135, NONE]),
    ("syslog", [103, 103, 116]),
    ("umount", [NONE, 22, NONE]),
    ("umount2", [166, 52, 39]),
    ("unshare", [272, 310, 97]),
    ("uselib", [134, 86, NONE]),
    ("userfaultfd", [323, 374, 282]),
    ("ustat", [136, 62, NONE]),
    ("vhangup", [153, 111, 58]),
    ("vm86", [NONE, 166, NONE]),
    ("vm86old", [NONE, 113, NONE]),
];

/// CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;

/// Linux, BSD, and both with addresses that are not random; the last only asks.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Families of sockets that exist; netlink is looked at more closely, packet sockets are a parameter.
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
const NETLINK_ROUTE: u32 = 0;

/// Would put characters into the terminal of whoever started the build (security.md D12).
const TERMINAL_INJECTION: [u32; 2] = [0x5412, 0x541c];

const LOAD_NUMBER: u32 = 0;
const LOAD_ARCH: u32 = 4;

fn load_argument(index: u32) -> u32 {
    16 + 8 * index
}

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;

fn errno(number: i32) -> u32 {
    0x0005_0000 | number as u32
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> libc::sock_filter {
    op(0x20, 0, 0, offset)
}

fn ret(verdict: u32) -> libc::sock_filter {
    op(0x06, 0, 0, verdict)
}

/// Skips the next `jf` instructions unless the loaded word is `k`.
fn unless_equal(k: u32, jf: usize) -> libc::sock_filter {
    op(0x15, 0, skip(jf), k)
}

/// Skips the next `jf` instructions unless the loaded word is `k` or more.
fn unless_at_least(k: u32, jf: usize) -> libc::sock_filter {
    op(0x35, 0, skip(jf), k)
}

/// Skips the next `jf` instructions unless the loaded word has a bit of `k`.
fn unless_any_bit(k: u32, jf: usize) -> libc::sock_filter {
    op(0x45, 0, skip(jf), k)
}

fn skip(instructions: usize) -> u8 {
    u8::try_from(instructions).expect("the parts of the filter are short")
}

fn compile(packets: PacketSockets) -> Program {
    if cfg!(target_arch = "aarch64") {
        compile_for(&[&AARCH64], packets)
    } else {
        compile_for(&[&X86_64, &I386], packets)
    }
}

fn compile_for(arches: &[&Arch], packets: PacketSockets) -> Program {
    let mut program = vec![load(LOAD_ARCH)];
    for arch in arches {
        let part = compile_arch(arch, packets);
        program.push(op(0x15, 1, 0, arch.audit)); // this architecture: over the jump
        program.push(op(0x05, 0, 0, part.len() as u32)); // another one: over the part
        program.extend(part);
    }
    program.push(ret(KILL));
    Program(program)
}

fn compile_arch(arch: &Arch, packets: PacketSockets) -> Vec<libc::sock_filter> {
    let mut part = vec![load(LOAD_NUMBER)];
    if let Some(number) = arch.foreign_from {
        part.extend([unless_at_least(number, 1), ret(KILL)]);
    }
    part.extend([unless_at_least(UNKNOWN_FROM, 1), ret(errno(libc::ENOSYS))]);
    for number in arch.missing {
        part.extend([unless_equal(*number, 1), ret(errno(libc::ENOSYS))]);
    }
    for (_, numbers) in REFUSED.iter().filter(|(_, numbers)| numbers[arch.column] != NONE) {
        part.extend([unless_equal(numbers[arch.column], 1), ret(errno(libc::EPERM))]);
    }
    add_rule(&mut part, arch.clone, clone_rule());
    add_rule(&mut part, arch.personality, personality_rule());
    add_rule(&mut part, arch.ioctl, ioctl_rule());
    add_rule(&mut part, arch.socket, socket_rule(packets));
    add_rule(&mut part, arch.socketpair, socket_rule(packets));
    part.push(ret(ALLOW));
    part
}

fn add_rule(part: &mut Vec<libc::sock_filter>, number: u32, rule: Vec<libc::sock_filter>) {
    part.push(unless_equal(number, rule.len()));
    part.extend(rule);
}

fn clone_rule() -> Vec<libc::sock_filter> {
    vec![
        load(load_argument(0)),
        unless_any_bit(CLONE_NAMESPACES, 1),
        ret(errno(libc::EPERM)),
        ret(ALLOW),
    ]
}

fn personality_rule() -> Vec<libc::sock_filter> {
    let mut rule = vec![load(load_argument(0))];
    for value in PERSONALITIES {
        rule.extend([unless_equal(value, 1), ret(ALLOW)]);
    }
    rule.push(ret(errno(libc::EPERM)));
    rule
}

fn ioctl_rule() -> Vec<libc::sock_filter> {
    let mut rule = vec![load(load_argument(1))];
    for request in TERMINAL_INJECTION {
        rule.extend([unless_equal(request, 1), ret(errno(libc::ENOTTY))]);
    }
    rule.push(ret(ALLOW));
    rule
}

fn socket_rule(packets: PacketSockets) -> Vec<libc::sock_filter> {
    let mut families = vec![AF_UNIX, AF_INET, AF_INET6];
    if packets == PacketSockets::Allowed {
        families.push(AF_PACKET);
    }
    let mut rule = vec![load(load_argument(0))];
    for family in families {
        rule.extend([unless_equal(family, 1), ret(ALLOW)]);
    }
    rule.extend([unless_equal(AF_NETLINK, 3), load(load_argument(2))]);
    rule.extend([unless_equal(NETLINK_ROUTE, 1), ret(ALLOW)]);
    rule.push(ret(errno(libc::EAFNOSUPPORT)));
    rule
}

#[cfg(test)]
mod tests;
