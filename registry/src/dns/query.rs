//! Asking name servers: both record types at once over UDP, TCP for a cut answer, the next server after a silence.

use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::Settings;
use super::packet::{self, A, AAAA, Answer};

/// The addresses of a name, IPv4 first; empty when nobody knows any.
pub(super) fn ask(settings: &Settings, name: &str) -> Vec<IpAddr> {
    for _ in 0..settings.attempts {
        for server in &settings.servers {
            if let Ok(Some(addresses)) = ask_server(*server, name, settings.timeout) {
                return addresses;
            }
        }
    }
    Vec::new()
}

/// One server's answer; `None` when it failed.
fn ask_server(
    server: SocketAddr,
    name: &str,
    timeout: Duration,
) -> io::Result<Option<Vec<IpAddr>>> {
    let ids = random_ids();
    let (Some(four), Some(six)) = (packet::query(ids.0, name, A), packet::query(ids.1, name, AAAA))
    else {
        return Ok(Some(Vec::new()));
    };
    let socket = UdpSocket::bind(match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })?;
    socket.connect(server)?;
    socket.send(&four)?;
    socket.send(&six)?;
    let queries = [four, six];
    let mut answers = [None, None];
    let end = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    while answers.iter().any(Option::is_none) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(e) => return Err(e),
        };
        for (query, slot) in queries.iter().zip(&mut answers) {
            match packet::answer(query, &buffer[..length]) {
                Some(Answer::Cut) => *slot = ask_by_tcp(server, query, timeout).ok().flatten(),
                Some(answer) => *slot = Some(answer),
                None => {}
            }
        }
        if answers.contains(&Some(Answer::Failed)) {
            break;
        }
    }
    Ok(gather(answers))
}

/// Both answers' addresses. One good answer is enough when the other failed or never came.
fn gather(answers: [Option<Answer>; 2]) -> Option<Vec<IpAddr>> {
    let complete = answers.iter().all(|a| matches!(a, Some(Answer::Addresses(_))));
    let all: Vec<IpAddr> = answers
        .into_iter()
        .flatten()
        .filter_map(|answer| match answer {
            Answer::Addresses(found) => Some(found),
            Answer::Cut | Answer::Failed => None,
        })
        .flatten()
        .collect();
    (complete || !all.is_empty()).then_some(all)
}

fn ask_by_tcp(server: SocketAddr, query: &[u8], timeout: Duration) -> io::Result<Option<Answer>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(query.len()).expect("a query is shorter than 300 bytes");
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(packet::answer(query, &bytes))
}

/// Numbers that an outsider cannot guess: the standard library seeds its hash from the kernel's generator.
fn random_ids() -> (u16, u16) {
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let (a, b) = (bits as u16, (bits >> 16) as u16);
    if a == b { (a, b.wrapping_add(1)) } else { (a, b) }
}

#[cfg(test)]
mod tests {
    use super::super::HostResolver;
    use super::*;
    use std::net::TcpListener;

    /// A server that says "cut" by UDP and gives `addresses` by TCP, for A questions; knows no AAAA.
    fn serve(addresses: u8) -> SocketAddr {
        // A port that is free for both.
        let both = std::iter::repeat_with(|| {
            let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = tcp.local_addr().expect("bound");
            UdpSocket::bind(address).ok().map(|udp| (udp, tcp, address))
        });
        let (udp, tcp, address) = both.take(100).flatten().next().expect("same port");
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                let query = &buffer[..length];
                let is_a = query[length - 3] == 1;
                let mut out = query.to_vec();
                out[2] |= if is_a { 0x82 } else { 0x80 };
                let _ = udp.send_to(&out, peer);
            }
        });
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let mut length = [0; 2];
                let _ = stream.read_exact(&mut length);
                let mut out = vec![0; usize::from(u16::from_be_bytes(length))];
                let _ = stream.read_exact(&mut out);
                out[2] |= 0x80;
                out[7] = addresses;
                for last in 0..addresses {
                    out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, last]);
                }
                let _ = stream.write_all(&(out.len() as u16).to_be_bytes());
                let _ = stream.write_all(&out);
            }
        });
        address
    }

    #[test]
    fn cut_answers_are_asked_for_again_by_tcp() {
        let dir = tempfile::tempdir().expect("temp dir");
        let conf = dir.path().join("resolv.conf");
        std::fs::write(&conf, format!("nameserver {}\n", serve(40))).expect("write");
        let resolver = HostResolver::new(&dir.path().join("hosts"), &conf);
        assert_eq!(resolver.addresses("r.example").len(), 40);
    }

    #[test]
    fn a_silent_server_gives_no_addresses_in_time() {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let settings = Settings {
            servers: vec![udp.local_addr().expect("bound")],
            search: vec![],
            ndots: 1,
            timeout: Duration::from_millis(50),
            attempts: 1,
        };
        assert!(ask(&settings, "r.example").is_empty());
    }
}
