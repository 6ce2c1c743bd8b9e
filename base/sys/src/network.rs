//! What a new network namespace needs before anything else runs in it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::SysError;
use crate::clone::{enter_network, unshare_network};

/// Makes a network namespace whose loopback interface is up.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN in the user namespace.
pub fn new_network() -> Result<OwnedFd, SysError> {
    // On a thread of its own, which ends: ours stays where it is.
    on_thread(|| {
        let namespace = unshare_network()?;
        loopback_up()?;
        Ok(namespace)
    })
}

/// Runs a function on a thread in a network namespace.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over it, and what the function says.
pub fn in_network<T: Send>(
    namespace: BorrowedFd<'_>,
    run: impl FnOnce() -> Result<T, SysError> + Send,
) -> Result<T, SysError> {
    on_thread(|| {
        enter_network(namespace)?;
        run()
    })
}

fn on_thread<T: Send>(run: impl FnOnce() -> Result<T, SysError> + Send) -> Result<T, SysError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, run)
            .map_err(|error| SysError::from_io("clone(thread)", &error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Brings up the loopback interface of the calling thread's network.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over it.
pub fn loopback_up() -> Result<(), SysError> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM)?;
    // SAFETY: all zeros is a valid value of this structure of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and has the layout that this ioctl reads.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } {
        0 => Ok(()),
        _ => Err(SysError::last("ioctl(SIOCSIFFLAGS, \"lo\")")),
    }
}

/// Makes an IPv4 address unreachable in the calling thread's network: for the metadata service of clouds
/// (security.md D14). What runs without CAP_NET_ADMIN cannot take it back.
///
/// # Errors
/// As the netlink request.
pub fn block_address(address: [u8; 4]) -> Result<(), SysError> {
    let socket = {
        let kind = SocketType::RAW;
        rustix::net::socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, None)
            .map_err(|errno| SysError::new("socket(AF_NETLINK)", errno.raw_os_error()))?
    };
    let failed = |errno: rustix::io::Errno| {
        SysError::new("netlink(RTM_NEWROUTE, unreachable)", errno.raw_os_error())
    };
    rustix::io::write(&socket, &route_request(address)).map_err(failed)?;
    let mut answer = [0; 1024];
    let length = rustix::io::read(&socket, &mut answer).map_err(failed)?;
    // nlmsghdr (16 bytes), then nlmsgerr whose first word is the negated error.
    match answer[..length].get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(SysError::new("netlink(RTM_NEWROUTE, unreachable)", -code)),
        None => Err(SysError::new("netlink(RTM_NEWROUTE, unreachable)", libc::EBADMSG)),
    }
}

/// An RTM_NEWROUTE of type unreachable for one address, to be acknowledged.
fn route_request(address: [u8; 4]) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut body = vec![
        libc::AF_INET as u8,
        32, // bits of the destination
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNREACHABLE,
    ];
    body.extend(0u32.to_ne_bytes()); // rtm_flags
    body.extend(8u16.to_ne_bytes());
    body.extend(libc::RTA_DST.to_ne_bytes());
    body.extend(address);
    let mut request = Vec::with_capacity(16 + body.len());
    request.extend((16 + body.len() as u32).to_ne_bytes());
    request.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    request.extend((flags as u16).to_ne_bytes());
    request.extend(1u32.to_ne_bytes());
    request.extend(0u32.to_ne_bytes());
    request.extend(body);
    request
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, SysError> {
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(|errno| SysError::new("socket()", errno.raw_os_error()))
}
