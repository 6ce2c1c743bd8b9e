//! Devices that this machine offers to steps, as the Container Device Interface describes them in files.
//!
//! Owns reading the descriptions and what a name means. Refuses to know who is allowed what: each device only says
//! whether its description gives it to everybody.

mod inject;
mod spec;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use inject::{add_to, left_out};
use spec::{Edits, Spec};

/// Annotations of BuildKit.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices of some directories.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    devices: Vec<Device>,
    faults: Vec<String>,
}

/// A device with what a step gets of it.
#[derive(Clone, Debug)]
pub struct Device {
    /// `vendor/class=name`.
    pub name: String,
    /// Its description allows it to every build (RUN-28).
    pub is_auto_allowed: bool,
    class: Option<String>,
    /// What its own description says, and what the file says for all of its devices.
    edits: [Edits; 2],
    /// The file, which counts once for several devices of it.
    file: PathBuf,
    /// Place of its directory in the order: later ones win.
    priority: usize,
}

impl Devices {
    /// Reads all descriptions of some directories; the later directory wins. A directory that is not there is empty.
    /// Of two equal names in one directory neither counts.
    pub fn read<P: AsRef<Path>>(directories: &[P]) -> Devices {
        let mut found = Devices::default();
        for (priority, directory) in directories.iter().enumerate() {
            for file in files(directory.as_ref()) {
                match spec::read(&file) {
                    Ok(spec) => found.devices.extend(devices(spec, &file, priority)),
                    Err(problem) => found.faults.push(format!("{}: {problem}", file.display())),
                }
            }
        }
        let all = std::mem::take(&mut found.devices);
        let beats = |other: &Device, one: &Device| {
            other.name == one.name && other.file != one.file && other.priority >= one.priority
        };
        let wins = |one: &&Device| !all.iter().any(|other| beats(other, one));
        found.devices = all.iter().filter(wins).cloned().collect();
        found.devices.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// The devices that a name means: one device, the first of a kind, all of a kind (`kind=*`), or those of a class
    /// (RUN-27).
    pub fn find(&self, name: &str) -> Vec<&Device> {
        let (kind, number) = name.split_once('=').unwrap_or((name, ""));
        let of_kind = self.devices.iter().filter(|device| {
            device.name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('='))
        });
        let found: Vec<&Device> = match (kind.contains('/'), number) {
            (false, _) => Vec::new(),
            (true, "") => of_kind.take(1).collect(),
            (true, "*") => of_kind.collect(),
            (true, _) => self.devices.iter().filter(|device| device.name == name).collect(),
        };
        if !found.is_empty() {
            return found;
        }
        self.devices.iter().filter(|device| device.class.as_deref() == Some(name)).collect()
    }

    /// Descriptions that could not be read, a line each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

/// The description files of a directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json" || e == "yaml"));
    files.sort();
    files
}

fn devices(spec: Spec, file: &Path, priority: usize) -> Vec<Device> {
    let Spec { kind, annotations, devices, container_edits, .. } = spec;
    let device = |one: spec::SpecDevice| {
        let note = |key: &str| {
            let note = one.annotations.0.get(key).or_else(|| annotations.0.get(key));
            note.cloned()
        };
        Device {
            name: format!("{kind}={}", one.name),
            is_auto_allowed: note(AUTO_ALLOW).is_some_and(|text| is_true(&text)),
            class: note(CLASS),
            edits: [one.container_edits, container_edits.clone()],
            file: file.to_owned(),
            priority,
        }
    };
    devices.into_iter().map(device).collect()
}

/// Yes in Go's spellings.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// What a step gets of its devices, a file's common part once, in the order of CDI: each file's before its devices'.
fn all_edits(devices: &[Device]) -> Vec<&Edits> {
    let mut edits = Vec::new();
    let mut files: Vec<&Path> = Vec::new();
    for device in devices {
        let [own, common] = &device.edits;
        if !files.contains(&device.file.as_path()) {
            files.push(&device.file);
            edits.push(common);
        }
        edits.push(own);
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "\
cdiVersion: \"0.6.0\"
kind: example.com/dev # a comment
annotations:
  org.mobyproject.buildkit.device.autoallow: true
containerEdits:
  env: [COMMON=1]
devices:
- name: one
  annotations: {org.mobyproject.buildkit.device.class: class1}
  containerEdits:
    env:
    - \"ONE=a b\"
    deviceNodes:
    - {path: /dev/one, hostPath: /dev/null, fileMode: 0640}
- name: two
  containerEdits:
    mounts:
      - hostPath: /tmp
        containerPath: /mnt/tmp
        options: [ro, rbind]
    additionalGids: [5, 7]
";

    fn read(files: &[(&str, &str)]) -> Devices {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        Devices::read(&[dir.path().join("low"), dir.path().join("high")])
    }

    #[test]
    fn run_27_names_mean_devices_kinds_and_classes() {
        let devices = read(&[("low/a.yaml", YAML)]);
        assert_eq!(devices.faults(), [""; 0]);
        let check = |name: &str, want: &[&str]| {
            let found: Vec<&str> = devices.find(name).iter().map(|d| d.name.as_str()).collect();
            assert_eq!(found, want, "{name}");
        };
        check("example.com/dev=two", &["example.com/dev=two"]);
        check("example.com/dev", &["example.com/dev=one"]);
        check("example.com/dev=*", &["example.com/dev=one", "example.com/dev=two"]);
        check("class1", &["example.com/dev=one"]);
        check("example.com/de", &[]);
        check("example.com/dev=three", &[]);
        check("class2", &[]);
        assert!(devices.find("class1")[0].is_auto_allowed, "the file's annotation");
        let all: Vec<Device> = devices.find("example.com/dev=*").into_iter().cloned().collect();
        let env: Vec<_> = all_edits(&all).iter().flat_map(|edits| edits.env.clone()).collect();
        assert_eq!(env, ["COMMON=1", "ONE=a b"]);
        let [own, _] = &all[0].edits;
        assert_eq!(
            (own.device_nodes[0].host(), own.device_nodes[0].mode()),
            ("/dev/null", Some(0o640))
        );
        let [own, _] = &all[1].edits;
        assert_eq!((own.mounts[0].options.len(), &own.additional_gids[..]), (2, &[5, 7][..]));
    }

    #[test]
    fn later_directories_win_and_doubles_cancel_out() {
        let json = r#"{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"x","containerEdits":{"env":["A=1"]}}]}"#;
        let auto = json.replace(
            r#""name""#,
            r#""annotations":{"org.mobyproject.buildkit.device.autoallow":"true"},"name""#,
        );
        let devices = read(&[("low/a.json", json), ("high/b.json", &auto)]);
        assert!(devices.find("v/c=x")[0].is_auto_allowed);
        assert_eq!(read(&[("low/a.json", json), ("low/b.json", json)]).find("v/c=x").len(), 0);
        let broken = read(&[("low/a.json", json), ("low/b.json", "{"), ("low/c.txt", "{")]);
        assert_eq!((broken.find("v/c").len(), broken.faults().len()), (1, 1));
        for bad in
            ["kind: 3\n", "kind: novendor\ncdiVersion: 1\ndevices: []\n", "a: &x [*x]\n", "- \n"]
        {
            assert_eq!(read(&[("low/a.yaml", bad)]).faults().len(), 1, "{bad}");
        }
    }
}
