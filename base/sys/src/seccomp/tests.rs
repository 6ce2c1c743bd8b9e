use super::*;

/// Runs a filter as the kernel does.
fn verdict(program: &Program, arch: u32, number: u32, arguments: [u64; 3]) -> String {
    let word = |offset: u32| match offset {
        LOAD_NUMBER => number,
        LOAD_ARCH => arch,
        16.. => arguments[(offset as usize - 16) / 8] as u32,
        _ => panic!("odd offset {offset}"),
    };
    let (mut at, mut loaded) = (0usize, 0u32);
    loop {
        let i = program.0[at];
        at += 1;
        let taken = match i.code {
            0x20 => {
                loaded = word(i.k);
                continue;
            }
            0x05 => {
                at += i.k as usize;
                continue;
            }
            0x06 if i.k == ALLOW => return "allow".into(),
            0x06 if i.k == KILL => return "kill".into(),
            0x06 => {
                return format!("{:?}", nix::errno::Errno::from_raw((i.k & 0xffff) as i32));
            }
            0x15 => loaded == i.k,
            0x35 => loaded >= i.k,
            0x45 => loaded & i.k != 0,
            code => panic!("odd instruction {code:#x}"),
        };
        at += usize::from(if taken { i.jt } else { i.jf });
    }
}

const ARCHES: [&Arch; 3] = [&X86_64, &I386, &AARCH64];

fn whole() -> Program {
    compile_for(&ARCHES, PacketSockets::Refused)
}

#[test]
fn d9_every_number_has_the_verdict_of_the_table() {
    let program = whole();
    for arch in ARCHES {
        let refused: Vec<u32> = REFUSED.iter().map(|(_, n)| n[arch.column]).collect();
        for number in 0..600 {
            let want = if number >= UNKNOWN_FROM || arch.missing.contains(&number) {
                "ENOSYS"
            } else if refused.contains(&number) {
                "EPERM"
            } else if number == arch.socket || number == arch.socketpair {
                "EAFNOSUPPORT" // family 0
            } else {
                "allow"
            };
            assert_eq!(
                verdict(&program, arch.audit, number, [0; 3]),
                want,
                "{:#x} {number}",
                arch.audit
            );
        }
    }
    assert_eq!(verdict(&program, X86_64.audit, 0x4000_0000, [0; 3]), "kill");
    assert_eq!(verdict(&program, 0x1234, 1, [0; 3]), "kill");
}

#[test]
fn d9_arguments() {
    let program = whole();
    let own_network = compile_for(&ARCHES, PacketSockets::Allowed);
    for arch in ARCHES {
        let check = |number, arguments, want: &str| {
            assert_eq!(verdict(&program, arch.audit, number, arguments), want, "{arguments:x?}");
        };
        for flag in
            [0x2_0000u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            check(arch.clone, [flag, 0, 0], "EPERM");
            check(arch.clone, [flag | 0xffff_0000_0000_0011, 0, 0], "EPERM");
        }
        check(arch.clone, [0x11, 0, 0], "allow");
        check(arch.personality, [0x4_0000, 0, 0], "EPERM");
        check(arch.personality, [0xffff_ffff, 0, 0], "allow");
        for high in [0, 1 << 32] {
            check(arch.ioctl, [0, 0x5412 | high, 0], "ENOTTY");
            check(arch.ioctl, [0, 0x541c | high, 0], "ENOTTY");
        }
        check(arch.ioctl, [0, 0x5413, 0], "allow");
        for call in [arch.socket, arch.socketpair] {
            for family in 0..64u64 {
                let known = [1, 2, 10, 16].contains(&family);
                check(call, [family, 1, 0], if known { "allow" } else { "EAFNOSUPPORT" });
            }
            check(call, [16, 3, 9], "EAFNOSUPPORT"); // netlink audit
            assert_eq!(verdict(&own_network, arch.audit, call, [17, 3, 0]), "allow");
        }
    }
}

/// The table against libc's names on the architecture that runs the tests.
#[test]
#[cfg(target_arch = "x86_64")]
fn numbers_are_those_of_the_kernel() {
    for (name, number) in [
        ("acct", libc::SYS_acct),
        ("bpf", libc::SYS_bpf),
        ("clock_adjtime", libc::SYS_clock_adjtime),
        ("clock_settime", libc::SYS_clock_settime),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("finit_module", libc::SYS_finit_module),
        ("fsopen", libc::SYS_fsopen),
        ("get_mempolicy", libc::SYS_get_mempolicy),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("kcmp", libc::SYS_kcmp),
        ("kexec_file_load", libc::SYS_kexec_file_load),
        ("kexec_load", libc::SYS_kexec_load),
        ("keyctl", libc::SYS_keyctl),
        ("lookup_dcookie", libc::SYS_lookup_dcookie),
        ("mbind", libc::SYS_mbind),
        ("migrate_pages", libc::SYS_migrate_pages),
        ("mount", libc::SYS_mount),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("move_mount", libc::SYS_move_mount),
        ("move_pages", libc::SYS_move_pages),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("open_tree", libc::SYS_open_tree),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("pivot_root", libc::SYS_pivot_root),
        ("process_madvise", libc::SYS_process_madvise),
        ("quotactl", libc::SYS_quotactl),
        ("quotactl_fd", libc::SYS_quotactl_fd),
        ("reboot", libc::SYS_reboot),
        ("request_key", libc::SYS_request_key),
        ("set_mempolicy", libc::SYS_set_mempolicy),
        ("setdomainname", libc::SYS_setdomainname),
        ("sethostname", libc::SYS_sethostname),
        ("setns", libc::SYS_setns),
        ("settimeofday", libc::SYS_settimeofday),
        ("swapoff", libc::SYS_swapoff),
        ("swapon", libc::SYS_swapon),
        ("syslog", libc::SYS_syslog),
        ("umount2", libc::SYS_umount2),
        ("unshare", libc::SYS_unshare),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("ustat", libc::SYS_ustat),
        ("vhangup", libc::SYS_vhangup),
    ] {
        let row = REFUSED.iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(i64::from(row.1[0]), number, "{name}");
    }
    assert_eq!(i64::from(X86_64.clone), libc::SYS_clone);
    assert_eq!(i64::from(X86_64.personality), libc::SYS_personality);
    assert_eq!(i64::from(X86_64.socketpair), libc::SYS_socketpair);
    assert!(REFUSED.is_sorted_by_key(|(name, _)| name));
}
