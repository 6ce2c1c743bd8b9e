//! Against the distribution project's own server (package docker-registry).

use testkit::image::TestImage;
use testkit::rootfs::TarBuilder;
use testkit::server::RegistryServer;

use super::*;

#[test]
fn an_image_goes_there_and_comes_back() {
    testkit::need!("docker-registry");
    let server = RegistryServer::start();
    let image = TestImage::new(&[TarBuilder::new().file("a", 0o644, &noise(3_000_000)).finish()]);
    let client = client();
    let name: Reference = format!("{}/team/app:1", server.host()).parse().expect("reference");
    let other: Reference = format!("{}/other/app:1", server.host()).parse().expect("reference");
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
    let gone: Reference = format!("{}/team/app:gone", server.host()).parse().expect("reference");
    let error = client.resolve(&gone).expect_err("no such tag");
    assert!(chain(&error).contains("MANIFEST_UNKNOWN"), "{}", chain(&error));
}
