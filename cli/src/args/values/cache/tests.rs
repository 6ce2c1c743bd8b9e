use super::cloud::duration_s;
use super::*;

fn around(vars: &[(&str, &str)]) -> Surroundings {
    let vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Surroundings { vars, directory: "/cwd".into(), ..Surroundings::default() }
}

fn from(text: &str, vars: &[(&str, &str)]) -> (Result<Vec<CacheImport>, String>, Vec<String>) {
    let mut warnings = Vec::new();
    let got = parse_cache_from(text, &around(vars), &mut warnings);
    (got.map_err(|error| error.message), warnings)
}

fn to(text: &str, vars: &[(&str, &str)]) -> (Result<Vec<CacheExport>, String>, Vec<String>) {
    let mut warnings = Vec::new();
    let got = parse_cache_to(text, &around(vars), &mut warnings);
    (got.map_err(|error| error.message), warnings)
}

fn import(text: &str) -> CacheImport {
    let (got, warnings) = from(text, &[]);
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    got.expect(text).pop().expect("one cache")
}

fn export(text: &str) -> CacheExport {
    let (got, warnings) = to(text, &[]);
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    got.expect(text).pop().expect("one cache")
}

#[test]
fn plain_names_are_images() {
    let names = |text: &str| -> Vec<String> {
        let imports = from(text, &[]).0.expect(text).into_iter();
        let name = |import: CacheImport| match import.place {
            ImportPlace::Registry { reference, insecure: false } => reference.to_string(),
            other => panic!("{other:?}"),
        };
        imports.map(name).collect()
    };
    assert_eq!(names("app"), ["docker.io/library/app:latest"]); // CIO-01
    assert_eq!(names("r.example/a:1,b"), ["r.example/a:1", "docker.io/library/b:latest"]);
    assert!(names("").is_empty());
    assert_eq!(
        from("A B", &[]).0.expect_err("a space").split(':').next(),
        Some("invalid cache reference \"A B\"")
    );
    assert!(matches!(export("r.example/a:1").place, ExportPlace::Registry { .. }));
}

#[test]
fn types_have_their_attributes() {
    let ExportPlace::Registry { reference, insecure } =
        export("type=registry,ref=r.example/a:c,registry.insecure=true").place
    else {
        panic!("a registry")
    };
    assert_eq!((reference.to_string().as_str(), insecure), ("r.example/a:c", true)); // CIO-04
    let ExportPlace::Local { dest, tag, reset } = export("type=local,\"dest=a,b\",reset=1").place
    else {
        panic!("a directory")
    };
    let got = (dest.to_str(), tag.as_str(), reset);
    assert_eq!(got, (Some("/cwd/a,b"), "latest", true)); // CIO-05
    let kept = export("type=local,dest=a,reset=false").place;
    assert!(matches!(kept, ExportPlace::Local { reset: false, .. }));
    let digest = oci::Digest::of(b"x");
    let ImportPlace::Local { src, tag, digest: found } =
        import(&format!("type=local,src=/c,tag=t,digest={digest}")).place
    else {
        panic!("a directory")
    };
    assert_eq!((src.to_str(), tag.as_str(), found), (Some("/c"), "t", Some(digest)));
    assert!(matches!(export("type=inline").place, ExportPlace::Inline)); // CIO-06
}

#[test]
fn options_of_exports() {
    let max = export(
        "type=registry,ref=a/b,mode=max,compression=zstd,compression-level=9,force-compression=true,ignore-error=true",
    );
    assert_eq!((max.mode, max.compression), (CacheMode::Max, Compression::Zstd(9)));
    assert_eq!((max.force_compression, max.ignore_error), (true, true));
    assert_eq!((max.oci_media_types, max.image_manifest), (true, true));
    let plain = export("Type=registry,Ref=a/b"); // names in any case, as the reference reads them
    assert_eq!((plain.mode, plain.compression), (CacheMode::Min, Compression::gzip())); // CIO-03
    let index = export("type=local,dest=d,oci-mediatypes=false");
    assert_eq!((index.oci_media_types, index.image_manifest), (false, false));
    assert!(!export("type=local,dest=d,image-manifest=false").image_manifest);
    let mounts = export("type=local,dest=d,mounts=npm;go,mounts-max=5m");
    assert_eq!(mounts.mounts, MountSelection::Ids(vec!["npm".to_owned(), "go".to_owned()]));
    assert_eq!(mounts.mounts_max_bytes, 5 << 20);
    let import = import("type=local,src=d,mounts=*,mounts-readonly=true");
    assert_eq!((import.mounts, import.mounts_readonly), (MountSelection::All, true));
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &str, want: &str| {
        let got = to(text, &[]).0.map(drop).expect_err(text);
        assert!(got.starts_with(want), "{text}: {got}");
    };
    check("type=x", "unknown cache exporter: \"x\""); // CIO-02
    check("type=registry", "registry cache exporter requires ref");
    check("type=local", "local cache exporter requires dest");
    check("ref=a", "type required for --cache-to with ref");
    check(
        "type=local,dest=d,mdoe=max",
        "unknown attribute \"mdoe\" of --cache-to type=local (did you mean mode?)",
    );
    check("type=local,dest=d,src=x", "unknown attribute \"src\" of --cache-to type=local");
    check("type=local,dest=d,mode=all", "unsupported cache export mode \"all\"");
    check("type=local,dest=d,reset=maybe", "failed to parse reset of --cache-to");
    check("type=local,dest=d,x", "invalid value x of --cache-to");
    check("type=local,dest=d,compression=lz4", "unsupported layer compression \"lz4\"");
    check(
        "type=local,dest=d,compression-level=x",
        "non-integer value \"x\" specified for compression-level",
    );
    check("type=local,dest=d,tag=", "empty tag of --cache-to");
    check(
        "type=local,dest=d,oci-mediatypes=false,image-manifest=true",
        "invalid configuration for remote cache, OCI mediatypes are required",
    );
    check(
        "type=local,dest=d,oci-mediatypes=false,compression=zstd",
        "cache option \"compression=zstd\" conflicts",
    );
    check(&format!("type=registry,ref=a@{}", oci::Digest::of(b"")), "invalid cache reference");
    let check = |text: &str, want: &str| {
        let got = from(text, &[]).0.map(drop).expect_err(text);
        assert!(got.starts_with(want), "{text}: {got}");
    };
    check("type=x", "unknown cache importer: x"); // CIO-02
    check("type=inline", "unknown cache importer: inline");
    check("type=local,src=", "local cache importer requires src");
    check("type=registry", "registry cache importer requires ref");
    check("type=local,src=d,digest=x", "invalid digest \"x\" of --cache-from");
}

#[test]
fn attributes_of_the_other_way_are_said_and_passed_over() {
    let (got, warnings) = from("type=registry,ref=a/b,mode=max", &[]);
    assert_eq!((got.map(|list| list.len()), warnings.len()), (Ok(1), 1));
    let (got, warnings) = to("type=inline,mode=max", &[]);
    let modes = got.map(|exports| exports.iter().map(|export| export.mode).collect());
    assert_eq!((modes, warnings.len()), (Ok(vec![CacheMode::Min]), 1)); // CIO-06
}

#[test]
fn a_bucket_may_come_from_the_environment() {
    let vars = [("AWS_REGION", "r"), ("AWS_BUCKET", "b"), ("AWS_PROFILE", "p"), ("HOME", "/h")];
    let (got, _) = to("type=s3", &vars);
    let ExportPlace::S3(s3) = got.expect("valid").remove(0).place else { panic!("s3") };
    assert_eq!((s3.bucket.as_str(), s3.region.as_str()), ("b", "r")); // CIO-08
    assert_eq!((&s3.names[..], s3.blobs_prefix.as_str()), (&["buildkit".to_owned()][..], "blobs/"));
    assert_eq!((s3.touch_refresh_s, s3.upload_parallelism), (86_400, 4));
    assert_eq!(s3.environment.variables.len(), 3);
    let text = "type=s3,bucket=x,region=y,name=a;b,secret_access_key=verysecret,touch_refresh=1h30m,use_path_style=true";
    let (got, _) = from(text, &vars);
    assert!(!format!("{got:?}").contains("verysecret"));
    let ImportPlace::S3(s3) = got.expect("valid").remove(0).place else { panic!("a bucket") };
    assert_eq!((s3.names.len(), s3.touch_refresh_s, s3.use_path_style), (2, 5_400, true));
    let (error, _) = from("type=s3,region=x", &[]);
    assert_eq!(
        error.map(drop).expect_err("no bucket"),
        "bucket ($AWS_BUCKET) not set for s3 cache"
    );
    for bad in [
        "\"secret_access_key=verysecret",
        "type=s3,secret_access_key=verysecret,x=1",
        "secret_access_key=verysecret",
    ] {
        let error = from(bad, &vars).0.map(drop).expect_err(bad);
        assert!(!error.contains("verysecret"), "{error}");
    }
}

#[test]
fn github_speaks_through_the_environment() {
    let v2 = [
        ("ACTIONS_CACHE_SERVICE_V2", "True"),
        ("ACTIONS_RESULTS_URL", "https://results"),
        ("ACTIONS_RUNTIME_TOKEN", "t"),
    ];
    let (got, _) = to("type=gha,mode=max", &v2);
    let ExportPlace::Gha(gha) = got.expect("valid").remove(0).place else { panic!("gha") };
    assert_eq!(gha.url_v2.as_deref(), Some("https://results")); // CIO-07
    assert_eq!((gha.scope.as_str(), gha.timeout_s), ("buildkit", 600));
    let v1 = [("ACTIONS_CACHE_URL", "https://cache"), ("ACTIONS_RUNTIME_TOKEN", "t")];
    let (got, _) = to("type=gha,scope=main", &v1);
    let ExportPlace::Gha(gha) = got.expect("valid").remove(0).place else { panic!("gha") };
    assert_eq!(
        (gha.url.as_deref(), gha.url_v2, gha.scope.as_str()),
        (Some("https://cache"), None, "main")
    );
    let (got, warnings) = to("type=gha", &[]);
    assert!(got.expect("no error").is_empty() && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn azures_account_has_a_name_and_a_key() {
    let text =
        "type=azblob,account_url=https://me.blob.example/,secret_access_key=c2VjcmV0,name=a;b";
    let ImportPlace::Azblob(azblob) = import(text).place else { panic!("a container") };
    assert_eq!((azblob.account_name.as_str(), azblob.container.as_str()), ("me", "buildkit-cache")); // CIO-09
    assert_eq!((azblob.names.len(), azblob.blobs_prefix.as_str()), (2, "blobs"));
    assert!(matches!(export(text).place, ExportPlace::Azblob(_)));
    let error = from("type=azblob", &[]).0.map(drop).expect_err("no account");
    assert!(error.contains("account_url attribute is required"), "{error}");
    let url = [("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", "https://me.blob.example")];
    let error = to("type=azblob", &url).0.map(drop).expect_err("no key");
    assert_eq!(error, "secret_access_key is required for azblob cache");
}

#[test]
fn durations_as_go_writes_them() {
    let check = |text: &str, want: Option<u64>| assert_eq!(duration_s(text), want, "{text}");
    check("24h", Some(86_400));
    check("1h30m", Some(5_400));
    check("1.5s", Some(1));
    check("500ms", Some(0));
    check("0", Some(0));
    for bad in ["", "5", "h", "1d", "1h5", "-1h"] {
        check(bad, None);
    }
}
