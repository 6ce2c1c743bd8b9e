//! Against the distribution project's own server (package docker-registry).

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use testkit::image::TestImage;
use testkit::rootfs::TarBuilder;

use super::*;

struct Server {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start() -> Server {
    let dir = tempfile::tempdir().expect("temp dir");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let host = free.local_addr().expect("bound").to_string();
    drop(free);
    let config = dir.path().join("config.yml");
    let root = dir.path().join("data");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
        root.display()
    );
    std::fs::write(&config, text).expect("write");
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start docker-registry");
    let server = Server { child, host, _dir: dir };
    let started = Instant::now();
    while std::net::TcpStream::connect(&server.host).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::yield_now();
    }
    server
}

#[test]
fn an_image_goes_there_and_comes_back() {
    testkit::need!("docker-registry");
    let server = start();
    let image = TestImage::new(&[TarBuilder::new().file("a", 0o644, &noise(3_000_000)).finish()]);
    let client = client();
    let name: Reference = format!("{}/team/app:1", server.host).parse().expect("reference");
    let other: Reference = format!("{}/other/app:1", server.host).parse().expect("reference");
    for (to, from, expect) in [
        (&name, None, registry::Pushed::Uploaded),
        (&name, None, registry::Pushed::Existed),
        (&other, Some(&name), registry::Pushed::Mounted),
    ] {
        for blob in image.layers.iter().chain([&image.config]) {
            let open =
                || Ok(Box::new(std::io::Cursor::new(blob.clone())) as Box<dyn std::io::Read>);
            let (digest, size) = (Digest::of(blob), blob.len() as u64);
            let pushed = client.push_blob(to, &digest, size, &open, from).expect("push");
            assert_eq!(pushed, expect);
        }
        client.push_manifest(to, oci::media::OCI_MANIFEST, &image.manifest).expect("manifest");
    }
    let resolved = client.resolve(&name).expect("resolve");
    assert_eq!(resolved.bytes, image.manifest);
    let layer = &image.layers[0];
    let got = read_blob(&client, &name, &blob_descriptor(layer)).expect("blob");
    assert!(got == *layer);
    let gone: Reference = format!("{}/team/app:gone", server.host).parse().expect("reference");
    let error = client.resolve(&gone).expect_err("no such tag");
    assert!(chain(&error).contains("MANIFEST_UNKNOWN"), "{}", chain(&error));
}
