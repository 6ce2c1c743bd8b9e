//! Networks of steps (design D11).

use std::net::TcpListener;

use crate::harness::{Person, Place, persons, root_for};

#[test]
fn run_21_none_has_a_loopback_only() {
    for person in persons() {
        let script = "ip -o addr | cut -d' ' -f2 | sort -u; ping -c1 -w2 127.0.0.1 | grep -c ' 0% packet loss'";
        let said = Place::new(person).sh(&["net=none"], script);
        assert_eq!(said.out, "lo\n1\n", "{person:?} {said:?}");
    }
}

#[test]
fn d14_an_own_network_reaches_no_loopback_of_the_machine() {
    if !root_for("d14_an_own_network_reaches_no_loopback_of_the_machine") {
        return; // an ordinary user's depends on /dev/net/tun; the fallback is tested below
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "ip -o addr | grep -qv ' lo ' && echo has an address; \
         ip route get 169.254.169.254 2>&1 | grep -c 'No route to host'; \
         nc -w1 127.0.0.1 {port} </dev/null && echo reached; true"
    );
    let said = Place::new(Person::Me).sh(&["net=default", "strict=1"], &script);
    assert_eq!(said.out, "has an address\n1\n", "{said:?}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn d14_the_machines_network_comes_without_raw_sockets() {
    let script =
        "grep CapEff /proc/self/status | tr '\\t' ' '; ping -c1 -w1 127.0.0.1 2>&1 | tail -n1";
    for person in persons() {
        let said = Place::new(person).sh(&["net=host"], script);
        assert!(said.out.starts_with("CapEff: 00000000a80401fb\n"), "{person:?} {said:?}");
    }
}

#[test]
fn without_a_helper_it_is_said_once_or_refused() {
    // Where the helper works there is nothing to see; where it does not, both forms must say why.
    for person in persons() {
        let place = Place::new(person);
        let said = place.sh(&["net=default"], "true");
        assert_eq!(said.code, Some(0), "{said:?}");
        let warnings = said.err.matches("steps use this machine's network: ").count();
        let strict = place.sh(&["net=default", "strict=1"], "true");
        match warnings {
            0 => assert_eq!(strict.code, Some(0), "{strict:?}"),
            count => {
                assert_eq!(count, 1, "{said:?}");
                assert_eq!(strict.code, Some(200), "{strict:?}");
                assert!(strict.err.contains("cannot have a network of its own"), "{strict:?}");
            }
        }
    }
}
