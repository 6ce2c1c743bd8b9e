//! Capabilities of steps.

/// The capabilities that a step's root has, as bits: BuildKit's fourteen (RUN-25, security.md section 2).
pub const STEP: u64 = 0xa804_25fb;

/// CAP_NET_RAW, which a step has only in a network of its own (design D11).
pub const NET_RAW: u64 = 1 << 13;

/// CAP_NET_BIND_SERVICE, of which the same is true.
pub const NET_BIND_SERVICE: u64 = 1 << 10;

/// All that the kernel has.
pub const ALL: u64 = u64::MAX;

/// Number of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u32 = 21;
