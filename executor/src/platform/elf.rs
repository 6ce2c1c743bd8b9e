//! The smallest program of each architecture: it ends with status 0. Whether it starts is the kernel's own answer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;

/// Where the program is loaded: a multiple of every page size, above what may not be mapped.
const BASE: u64 = 0x40_0000;
const HEADER_64: usize = 64;
const HEADER_32: usize = 52;
const SEGMENT_64: usize = 56;
const SEGMENT_32: usize = 32;
/// Types of segments.
const LOAD: u64 = 1;
const INTERPRETER: u64 = 3;
/// How often the program is started anew while somebody holds it open.
const TRIES_MAX: u32 = 1000;
/// Segment flags: readable and executable.
const READ_EXECUTE: u64 = 5;

/// A program in the form that its architecture wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    wide: bool,
    big_endian: bool,
    machine: u64,
    flags: u64,
    /// exit(0).
    code: &'static [u8],
}

const fn little(machine: u64, flags: u64, code: &'static [u8]) -> Program {
    Program { wide: true, big_endian: false, machine, flags, code }
}

const fn big(machine: u64, flags: u64, code: &'static [u8]) -> Program {
    Program { wide: true, big_endian: true, machine, flags, code }
}

const fn narrow(program: Program) -> Program {
    Program { wide: false, ..program }
}

/// By Go's names.
const PROGRAMS: [(&str, Program); 12] = [
    // xor edi,edi; mov eax,60; syscall
    ("amd64", little(62, 0, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05])),
    // xor ebx,ebx; mov eax,1; int 0x80
    ("386", narrow(little(3, 0, &[0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]))),
    // mov x0,#0; mov x8,#93; svc #0
    ("arm64", little(183, 0, &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4])),
    // mov r0,#0; mov r7,#1; svc #0
    (
        "arm",
        narrow(little(40, 0x500_0000, &[0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef])),
    ),
    // li a0,0; li a7,93; ecall
    ("riscv64", little(243, 0, &[0x13, 5, 0, 0, 0x93, 8, 0xd0, 5, 0x73, 0, 0, 0])),
    // li r3,0; li r0,1; sc
    ("ppc64le", little(21, 2, &[0, 0, 0x60, 0x38, 1, 0, 0, 0x38, 2, 0, 0, 0x44])),
    ("ppc64", big(21, 2, &[0x38, 0x60, 0, 0, 0x38, 0, 0, 1, 0x44, 0, 0, 2])),
    // lghi %r2,0; svc 1
    ("s390x", big(22, 0, &[0xa7, 0x29, 0, 0, 0x0a, 1])),
    // move a0,zero; li v0,5058; syscall
    ("mips64le", little(8, 0x8000_0007, &[0x25, 0x20, 0, 0, 0xc2, 0x13, 2, 0x24, 0x0c, 0, 0, 0])),
    ("mips64", big(8, 0x8000_0007, &[0, 0, 0x20, 0x25, 0x24, 2, 0x13, 0xc2, 0, 0, 0, 0x0c])),
    // move a0,zero; li.w a7,93; syscall 0
    ("loong64", little(258, 0x43, &[4, 0, 0x15, 0, 0x0b, 0x74, 0x81, 2, 0, 0, 0x2b, 0])),
    // mov 0,%o0; mov 1,%g1; ta 0x6d
    ("sparc64", big(43, 0, &[0x90, 0x10, 0x20, 0, 0x82, 0x10, 0x20, 1, 0x91, 0xd0, 0x20, 0x6d])),
];

impl Program {
    /// That of an architecture.
    pub(super) fn of(architecture: &str) -> Option<Program> {
        PROGRAMS.iter().find(|(name, _)| *name == architecture).map(|(_, program)| *program)
    }

    /// The beginning of a program: what a kernel goes by.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = vec![0x7f, b'E', b'L', b'F'];
        out.extend([if self.wide { 2 } else { 1 }, if self.big_endian { 2 } else { 1 }, 1]);
        out.resize(16, 0);
        let (header, segment) = self.sizes();
        self.put(&mut out, &[(2, 2), (self.machine, 2), (1, 4)]);
        self.words(&mut out, &[BASE + (header + segment) as u64, header as u64, 0]);
        self.put(&mut out, &[(self.flags, 4), (header as u64, 2), (segment as u64, 2), (1, 2)]);
        self.put(&mut out, &[(if self.wide { 64 } else { 40 }, 2), (0, 2), (0, 2)]);
        out
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        const ALIGNMENT: u64 = 0x1_0000;
        let (header, segment) = self.sizes();
        let size = (header + segment + self.code.len()) as u64;
        let mut out = self.header();
        self.put(&mut out, &[(LOAD, 4)]);
        if self.wide {
            self.put(&mut out, &[(READ_EXECUTE, 4)]);
        }
        self.words(&mut out, &[0, BASE, BASE, size, size]);
        if !self.wide {
            self.put(&mut out, &[(READ_EXECUTE, 4)]);
        }
        self.words(&mut out, &[ALIGNMENT]);
        out.extend_from_slice(self.code);
        out
    }

    /// Whether this machine starts it and it ends as it should.
    pub(super) fn starts(&self) -> bool {
        self.run().is_ok_and(|ended_well| ended_well)
    }

    fn run(&self) -> io::Result<bool> {
        // An interpreter opens the file by its path after the execution, so the descriptor has to last.
        let new = |flags| rustix::fs::memfd_create("shale-probe", MemfdFlags::CLOEXEC | flags);
        // Kernels before 6.3 do not know the flag; later ones can be set so that nothing is executed without.
        let file = new(MemfdFlags::EXEC).or_else(|_| new(MemfdFlags::empty()));
        let mut file = File::from(file?);
        file.write_all(&self.bytes())?;
        // The kernel executes nothing that is open for writing.
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        let read_only = File::open(&own)?;
        rustix::io::fcntl_setfd(&read_only, rustix::io::FdFlags::empty())?;
        drop(file);
        let path = format!("/proc/self/fd/{}", read_only.as_raw_fd());
        let mut command = Command::new(path);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tries = 0;
        loop {
            match command.status() {
                // A process that another thread is just making has our descriptor for writing until its own execution.
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < TRIES_MAX =>
                {
                    tries += 1;
                    std::thread::yield_now();
                }
                ended => return Ok(ended?.success()),
            }
        }
    }

    fn sizes(&self) -> (usize, usize) {
        if self.wide { (HEADER_64, SEGMENT_64) } else { (HEADER_32, SEGMENT_32) }
    }

    fn words(&self, out: &mut Vec<u8>, values: &[u64]) {
        let bytes = if self.wide { 8 } else { 4 };
        values.iter().for_each(|value| self.put(out, &[(*value, bytes)]));
    }

    /// Numbers with their lengths in bytes.
    fn put(&self, out: &mut Vec<u8>, numbers: &[(u64, usize)]) {
        for (value, bytes) in numbers {
            match self.big_endian {
                true => out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]),
                false => out.extend_from_slice(&value.to_le_bytes()[..*bytes]),
            }
        }
    }
}

/// Whether a program of this machine wants a dynamic loader.
pub(super) fn needs_loader(path: &Path) -> io::Result<bool> {
    const BEGINNING_BYTES: u64 = 16 << 10;
    let mut bytes = Vec::new();
    File::open(path)?.take(BEGINNING_BYTES).read_to_end(&mut bytes)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "it is no program");
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err(malformed());
    }
    let wide = bytes.get(4) == Some(&2);
    let number = |at: usize, length: usize| {
        let part = bytes.get(at..at + length).ok_or_else(malformed)?;
        let value = part.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let swapped = value.swap_bytes() >> (64 - 8 * length);
        Ok::<u64, io::Error>(if bytes[5] == 2 { swapped } else { value })
    };
    let (table, size, count) = match wide {
        true => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
        false => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
    };
    for segment in 0..count {
        let at = table.checked_add(segment * size).and_then(|at| usize::try_from(at).ok());
        if number(at.filter(|at| *at < bytes.len()).ok_or_else(malformed)?, 4)? == INTERPRETER {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_their_lengths() {
        for (name, program) in PROGRAMS {
            assert_eq!(program.header().len(), program.sizes().0, "{name}");
            let whole = program.sizes().0 + program.sizes().1 + program.code.len();
            assert_eq!(program.bytes().len(), whole, "{name}");
        }
    }

    #[test]
    fn a_loader_is_seen() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("program");
        for (name, program) in PROGRAMS {
            let mut bytes = program.bytes();
            std::fs::write(&path, &bytes).expect("a file");
            assert!(!needs_loader(&path).expect(name), "{name}");
            let at = program.sizes().0;
            let place = if program.big_endian { at + 3 } else { at };
            bytes[place] = INTERPRETER as u8;
            std::fs::write(&path, &bytes).expect("a file");
            assert!(needs_loader(&path).expect(name), "{name}");
        }
        for damaged in [&b"#!/bin/sh\n"[..], b"\x7fELF", b"\x7fELF\x02\x01\x01"] {
            std::fs::write(&path, damaged).expect("a file");
            assert!(needs_loader(&path).is_err(), "{damaged:?}");
        }
    }
}
