//! Messages with descriptors between our own processes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Descriptors in one message; the kernel takes 253.
const FDS_MAX: usize = 200;

/// Longest message in bytes. What is longer goes into a memfd.
pub const MESSAGE_MAX: usize = 4096;

/// Two ends of a channel that keeps messages apart.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a message of 1 to [`MESSAGE_MAX`] bytes with any number of descriptors.
///
/// # Errors
/// As sendmsg(2); EPIPE when the other end has gone.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!((1..=MESSAGE_MAX).contains(&message.len()), "messages are short and not empty");
    let count = (fds.len() as u32).to_le_bytes();
    send_part(socket, &[IoSlice::new(&count), IoSlice::new(message)], &[])?;
    for part in fds.chunks(FDS_MAX) {
        send_part(socket, &[IoSlice::new(b"+")], part)?;
    }
    Ok(())
}

fn send_part(
    socket: BorrowedFd<'_>,
    bytes: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let pushed = ancillary.push(SendAncillaryMessage::ScmRights(fds));
        assert!(pushed, "the buffer has room for a whole part");
    }
    loop {
        match rustix::net::sendmsg(socket, bytes, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives a message with all its descriptors; `None` when the other end has gone.
///
/// # Errors
/// As recvmsg(2); EMFILE when descriptors got lost; EBADMSG for what [`send`] did not send.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut bytes = receive_part(socket, &mut fds)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let count: [u8; 4] =
        bytes.get(..4).and_then(|b| b.try_into().ok()).ok_or(io::Error::from(Errno::BADMSG))?;
    let count = u32::from_le_bytes(count) as usize;
    while fds.len() < count {
        let before = fds.len();
        if receive_part(socket, &mut fds)?.is_empty() {
            return Ok(None);
        }
        if fds.len() == before {
            return Err(Errno::MFILE.into());
        }
    }
    bytes.drain(..4);
    Ok(Some((bytes, fds)))
}

fn receive_part(socket: BorrowedFd<'_>, fds: &mut Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MESSAGE_MAX + 4];
    let received = loop {
        let mut into = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(socket.as_fd(), &mut into, &mut ancillary, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    bytes.truncate(received.bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_descriptors_than_one_message_takes() {
        let (a, b) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let fds: Vec<BorrowedFd<'_>> = (0..450).map(|_| file.as_fd()).collect();
        let sender = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(a.as_fd(), b"hello", &fds));
            let (text, received) = receive(b.as_fd()).unwrap().unwrap();
            assert_eq!((text.as_slice(), received.len()), (b"hello".as_slice(), 450));
            sender.join().unwrap()
        });
        sender.unwrap();
        send(a.as_fd(), b"x", &[]).unwrap();
        assert_eq!(receive(b.as_fd()).unwrap().unwrap().0, b"x");
        drop(a);
        assert!(receive(b.as_fd()).unwrap().is_none());
    }
}
