//! Repositories behind ssh, credentials on their way to git, and two builds over one context.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::need;
use world::World;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// An ssh server that lets one key in, to whoever runs the test. It ends with the test.
struct SshServer {
    port: u16,
    child: Child,
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `key` may log in, `other` may not, `host` is the server's.
fn ssh_server(world: &World) -> SshServer {
    for name in ["key", "other", "host"] {
        let file = world.path(name);
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file.to_str().unwrap()];
        world.program("ssh-keygen", &arguments).ok();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = |name: &str| world.path(name).display().to_string();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n",
        path("host"),
        path("key.pub"),
    );
    let config = world.write("sshd_config", config);
    if testkit::need::is_root() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let sshd = testkit::need::program("sshd").unwrap_or_else(|| "/usr/sbin/sshd".into());
    let mut command = Command::new(sshd);
    command.arg("-D").arg("-f").arg(config).arg("-E").arg(world.path("sshd.log"));
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    let server = SshServer { port, child };
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < START_LIMIT, "{}", world.read("sshd.log"));
        std::thread::yield_now();
    }
    server
}

/// A repository with one commit on its branch main, which is also a context.
fn repository(world: &World) -> String {
    let script =
        "git init -q -b main w; cd w; printf 'FROM scratch\\nCOPY f /\\n' > Dockerfile; echo f > f
        git add .; git -c user.name=a -c user.email=a@example.test commit -q -m x
        git clone -q --bare . ../repo.git; rm -rf ../w";
    world.program("sh", &["-euc", script]).ok();
    world.path("context/repo.git").display().to_string()
}

fn user_name(world: &World) -> String {
    world.program("id", &["-un"]).ok().to_owned()
}

#[test]
fn a_repository_is_reached_by_ssh_with_a_given_key_alone() {
    need!("git", "ssh", "ssh-keygen", "/usr/sbin/sshd");
    let world = World::new();
    let repository = repository(&world);
    let server = ssh_server(&world);
    let url = format!("ssh://{}@127.0.0.1:{}{repository}", user_name(&world), server.port);
    world.dockerfile(&format!("FROM scratch\nADD {url}#main /\n"));
    let key = |name: &str| format!("--ssh=default={}", world.path(name).display());
    // A key that lies where ssh looks by itself is not the Dockerfile's to use.
    let own = world.write("home/.ssh/id_ed25519", world.read("key"));
    std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.build(&[]).fails(4, &["no SSH key \"default\" forwarded from the client", "--ssh"]);
    world.build(&[&key("other")]).fails(4, &["Permission denied"]);
    world.build(&[&key("key"), "--output", "out"]).ok();
    assert_eq!(world.read("context/out/f"), "f\n");
    assert!(!world.path("home/.ssh/known_hosts").exists(), "a build writes no known hosts");
    // As the context itself.
    world.shale(&["build", &key("key"), "--output", "out2", &url]).ok();
    assert_eq!(world.read("context/out2/f"), "f\n");
}

#[test]
fn a_host_that_has_another_key_than_before_is_not_believed() {
    need!("git", "ssh", "ssh-keygen", "/usr/sbin/sshd");
    let world = World::new();
    let repository = repository(&world);
    let server = ssh_server(&world);
    let url = format!("ssh://{}@127.0.0.1:{}{repository}", user_name(&world), server.port);
    world.dockerfile(&format!("FROM scratch\nADD {url} /\n"));
    let key = format!("--ssh=default={}", world.path("key").display());
    let known = |name: &str| format!("[127.0.0.1]:{} {}", server.port, world.read(name));
    world.write("home/.ssh/known_hosts", known("other.pub"));
    world.build(&[&key]).fails(4, &["Host key verification failed"]);
    world.write("home/.ssh/known_hosts", known("host.pub"));
    world.build(&[&key]).ok();
}

/// security.md C12: what is in an argument can be read by every user of the machine.
#[test]
fn no_credential_is_an_argument_of_git() {
    need!("git");
    let mut world = World::new();
    let git = testkit::need::program("git").unwrap();
    let log = world.path("git.log");
    let script = format!(
        "#!/bin/sh\n{{ echo \"args: $*\"; env | grep '^GIT_CONFIG_' ; }} >> {}\nexec {} \"$@\"\n",
        log.display(),
        git.display()
    );
    let wrapper = world.write("bin/git", script);
    std::fs::set_permissions(wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.set("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", world.path("bin").display()));
    // Nobody listens at port 1.
    world.dockerfile("FROM scratch\nARG R\nADD $R /\n");
    world.set("TOKEN", "tok-1");
    let plain = "R=http://127.0.0.1:1/r.git";
    world.build(&["--build-arg", plain, "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"]).fails(4, &[]);
    let with_user = "R=http://u:tok-1@127.0.0.1:1/r.git";
    let failed = world.build(&["--build-arg", with_user]);
    failed.fails(4, &["git ls-remote of http://127.0.0.1:1/r.git failed"]);
    let log = world.read("git.log");
    let is_argument = |line: &&str| line.starts_with("args: ");
    let arguments: Vec<&str> = log.lines().filter(is_argument).collect();
    assert_eq!(arguments.len(), 2, "{log}");
    for secret in ["tok-1", "eC1hY2Nlc3MtdG9rZW46dG9rLTE=", "dTp0b2stMQ=="] {
        assert!(!arguments.iter().any(|line| line.contains(secret)), "{secret} in {arguments:?}");
    }
    assert!(log.contains("Basic eC1hY2Nlc3MtdG9rZW46dG9rLTE="), "the token reaches git: {log}");
    assert!(log.contains("Basic dTp0b2stMQ=="), "the password reaches git: {log}");
    assert!(!failed.stderr.contains("git ls-remote of http://u"), "{failed}");
}

/// CTX-22.
#[test]
fn two_builds_over_one_context_do_not_disturb_each_other() {
    let world = World::new();
    for number in 0..50 {
        world.write(&format!("context/files/{number}"), format!("content {number}\n"));
    }
    let build = |name: &str| {
        world.write(&format!("context/{name}.file"), format!("FROM scratch\nCOPY files /{name}\n"));
        let (file, out) = (format!("{name}.file"), format!("../{name}"));
        world.build(&["-f", &file, "--no-cache", "--output", &out]).ok();
        let last = world.read(&format!("{name}/{name}/49"));
        assert_eq!(last, "content 49\n");
    };
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            scope.spawn(move || build(name));
        }
    });
}

/// A proxy that answers by itself and notes the lines that it was asked with.
fn proxy() -> (u16, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let has_user = head.iter().any(|line| line == "Proxy-Authorization: Basic dTpwdw==");
            let line = head.first().cloned().unwrap_or_default();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let refusal = "HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let text = if line.starts_with("GET http://") { answer } else { refusal };
            let _ = stream.write_all(text.as_bytes());
            if sender.send(format!("{line} {has_user}")).is_err() {
                return;
            }
        }
    });
    (port, asked)
}

#[test]
fn downloads_go_through_the_proxy_of_the_environment() {
    let mut world = World::new();
    let (port, asked) = proxy();
    for name in ["http_proxy", "https_proxy"] {
        world.set(name, &format!("http://u:pw@127.0.0.1:{port}"));
    }
    world.dockerfile("FROM scratch\nARG U\nADD $U /f\n");
    // Nobody but the proxy could know such a name.
    world.build(&["--build-arg", "U=http://files.invalid/a?b", "--output", "out"]).ok();
    assert_eq!(world.read("context/out/f"), "ok");
    assert_eq!(asked.recv().unwrap(), "GET http://files.invalid/a?b HTTP/1.1 true");
    let failed = world.build(&["--build-arg", "U=https://files.invalid/a"]);
    failed.fails(4, &["proxy"]);
    assert!(!failed.stderr.contains("u:pw"), "{failed}");
    assert_eq!(asked.recv().unwrap(), "CONNECT files.invalid:443 HTTP/1.1 true");
    world.set("no_proxy", ".invalid");
    world.build(&["--build-arg", "U=http://files.invalid/a?b"]).fails(4, &["files.invalid"]);
    assert!(asked.try_recv().is_err(), "the proxy was asked");
}

/// Ctrl-C does not wait for a server that never answers.
#[test]
fn a_silent_server_does_not_hold_up_a_cancelled_build() {
    need!("git");
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for source in [
        format!("http://127.0.0.1:{port}/file"),
        format!("http://127.0.0.1:{port}/r.git"),
        format!("git://127.0.0.1:{port}/r"),
    ] {
        world.dockerfile(&format!("FROM scratch\nADD {source} /x\n"));
        let mut command = world.command(&["build", "."]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It has asked, and gets no answer.
        let (_connection, _) = listener.accept().unwrap();
        let asked = Instant::now();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{source}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{source}: {:?}", asked.elapsed());
    }
}
