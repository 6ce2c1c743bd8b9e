//! `--attest`, `--provenance` and `--sbom` (ATT-01), and the build arguments that mean the same (ATT-20).

use engine::{Attestations, ProvenanceMode, ProvenanceRequest, SbomRequest, SlsaVersion};

use super::{csv, go_bool, image_name};
use crate::args::UsageError;

/// Attributes of a provenance, for those who misspell one.
const PROVENANCE: [&str; 7] =
    ["mode", "version", "builder-id", "filename", "reproducible", "inline-only", "disabled"];

/// What all of them together ask for: the last of a kind counts, flags before build arguments.
pub(crate) fn attestations(
    attest: &[String],
    (provenance, sbom): (Option<&str>, Option<&str>),
    build_args: &[(String, String)],
) -> Result<Attestations, UsageError> {
    let mut wanted = Attestations::default();
    for (name, value) in build_args {
        let kind = match name.as_str() {
            "BUILDKIT_ATTEST_PROVENANCE" => "provenance",
            "BUILDKIT_ATTEST_SBOM" => "sbom",
            _ => continue,
        };
        let taken = take(kind, short(value)?, &mut wanted);
        taken.map_err(|error| error.of_flag("--build-arg", &format!("{name}={value}")))?;
    }
    for text in attest {
        let mut one = || {
            let fields = csv::fields(text)?;
            let is_type = |field: &&String| field.trim().starts_with("type=");
            let kind = fields.iter().find(is_type).and_then(|field| field.split_once('='));
            let kind = kind.map(|(_, kind)| kind.to_owned()).filter(|kind| !kind.is_empty());
            let kind = kind.ok_or_else(|| {
                UsageError::new("attestation type not specified")
                    .with_hint("use type=provenance or type=sbom")
            })?;
            take(&kind, fields.into_iter().filter(|field| !is_type(&field)).collect(), &mut wanted)
        };
        one().map_err(|error| error.of_flag("--attest", text))?;
    }
    for (kind, value) in [("provenance", provenance), ("sbom", sbom)] {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        let taken = short(value).and_then(|fields| take(kind, fields, &mut wanted));
        taken.map_err(|error| error.of_flag(&format!("--{kind}"), value))?;
    }
    Ok(wanted)
}

/// The fields of a short form: a switch, or attributes.
fn short(value: &str) -> Result<Vec<String>, UsageError> {
    match go_bool(value) {
        Ok(on) => Ok(vec![format!("disabled={}", !on)]),
        Err(_) if value.is_empty() => Ok(Vec::new()),
        Err(_) => csv::fields(value),
    }
}

fn take(kind: &str, fields: Vec<String>, wanted: &mut Attestations) -> Result<(), UsageError> {
    let mut pairs = Vec::new();
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let key = key.trim();
        if key == "disabled" {
            if flag(key, value)? {
                pairs.push(None);
            }
            continue;
        }
        pairs.push(Some((key.to_owned(), value.to_owned())));
    }
    let is_disabled = pairs.iter().any(Option::is_none);
    let pairs = pairs.into_iter().flatten();
    match kind {
        "provenance" => {
            let read = provenance(pairs)?;
            wanted.provenance = (!is_disabled).then_some(read);
        }
        "sbom" => {
            let read = sbom(pairs)?;
            wanted.sbom = (!is_disabled).then_some(read);
        }
        other => {
            return Err(UsageError::new(format!("unknown attestation type {other:?}"))
                .with_hint("use provenance or sbom"));
        }
    }
    Ok(())
}

fn provenance(
    pairs: impl Iterator<Item = (String, String)>,
) -> Result<ProvenanceRequest, UsageError> {
    let mut out = ProvenanceRequest::default();
    for (key, value) in pairs {
        match key.as_str() {
            "mode" => {
                out.mode = match value.as_str() {
                    "min" => ProvenanceMode::Min,
                    "max" | "full" => ProvenanceMode::Max,
                    _ => {
                        return Err(UsageError::new(format!("invalid mode {value:?}"))
                            .with_hint("use min or max"));
                    }
                }
            }
            "version" => {
                out.version = match value.as_str() {
                    "v1" | "1" => SlsaVersion::V1,
                    "v0.2" | "0.2" => SlsaVersion::V02,
                    _ => {
                        let text = format!("invalid provenance SLSA version: {value}");
                        return Err(UsageError::new(text).with_hint("use v1 or v0.2"));
                    }
                }
            }
            "builder-id" => out.builder_id = value,
            "filename" => out.file_name = file_name(&value)?,
            "reproducible" => out.reproducible = flag(&key, &value)?,
            "inline-only" => out.inline_only = flag(&key, &value)?,
            _ => {
                let meant = parser::did_you_mean(&key, PROVENANCE);
                return Err(UsageError::new(format!(
                    "unknown attribute {key:?} of a provenance attestation{meant}"
                ))
                .with_hint(format!("known are {}", PROVENANCE.join(", "))));
            }
        }
    }
    Ok(out)
}

/// The last component: the file lies at the root of a result.
fn file_name(value: &str) -> Result<String, UsageError> {
    match value.rsplit('/').next() {
        Some(name) if !matches!(name, "" | "." | "..") => Ok(name.to_owned()),
        _ => Err(UsageError::new(format!("invalid filename {value:?} of an attestation"))),
    }
}

fn sbom(pairs: impl Iterator<Item = (String, String)>) -> Result<SbomRequest, UsageError> {
    let mut out = SbomRequest::default();
    for (key, value) in pairs {
        match key.as_str() {
            "generator" if value.is_empty() => out.generator = None,
            "generator" => out.generator = Some(image_name(&value)?),
            _ => out.parameters.push((key, value)),
        }
    }
    match (&out.generator, out.parameters.first()) {
        (None, Some((key, _))) => Err(UsageError::new(format!(
            "attribute {key:?} of an SBOM is for a scanner, and none is named"
        ))
        .with_hint("name a scanner's image with generator=IMAGE")),
        _ => Ok(out),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, UsageError> {
    match value {
        "" => Ok(true),
        value => go_bool(value)
            .map_err(|_| UsageError::new(format!("failed to parse {key} flag {value:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        attest: &[&str],
        provenance: Option<&str>,
        sbom: Option<&str>,
        build_args: &[(&str, &str)],
    ) -> String {
        let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
        let pair = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let build_args: Vec<_> = build_args.iter().map(pair).collect();
        match attestations(&attest, (provenance, sbom), &build_args) {
            Err(error) => error.message,
            Ok(wanted) => {
                let provenance = wanted.provenance.map(|p| {
                    format!("{:?} {:?} {:?} {:?}", p.mode, p.version, p.builder_id, p.file_name)
                });
                let sbom = wanted.sbom.map(|s| {
                    let name = s.generator.map(|name| name.familiar()).unwrap_or_default();
                    format!("{name:?} {:?}", s.parameters)
                });
                let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                format!("{} / {}", shown(provenance), shown(sbom))
            }
        }
    }

    #[test]
    fn nothing_is_said_unless_asked_for() {
        assert_eq!(read(&[], None, None, &[]), "- / -");
        let plain = r#"Max V1 "" "provenance.json""#;
        assert_eq!(read(&[], Some("true"), Some("true"), &[]), format!("{plain} / \"\" []")); // ATT-01
        assert_eq!(
            read(&["type=provenance", "type=sbom"], Some("false"), None, &[]),
            "- / \"\" []"
        );
        assert_eq!(read(&["type=sbom,disabled=true"], None, None, &[]), "- / -");
        let args = [("BUILDKIT_ATTEST_PROVENANCE", "mode=min"), ("BUILDKIT_ATTEST_SBOM", "true")];
        let min = r#"Min V1 "" "provenance.json""#;
        assert_eq!(read(&[], None, None, &args), format!("{min} / \"\" []")); // ATT-20
        assert_eq!(read(&[], Some("false"), None, &args), "- / \"\" []");
    }

    #[test]
    fn attributes_are_read() {
        let text = "type=provenance,mode=min,version=v0.2,builder-id=https://b,filename=a/p.json";
        assert_eq!(read(&[text], None, None, &[]), r#"Min V02 "https://b" "p.json" / -"#); // ATT-09
        let text = "type=sbom,generator=scan:1,X=y";
        assert_eq!(read(&[text], None, None, &[]), r#"- / "scan:1" [("X", "y")]"#);
        let check = |attest: &str, want: &str| {
            let got = read(&[attest], None, None, &[]);
            assert!(got.contains(want), "{attest}: {got}");
        };
        check("mode=min", "attestation type not specified");
        check("type=vex", "unknown attestation type \"vex\"");
        check("type=provenance,mode=middle", "invalid mode \"middle\"");
        check("type=provenance,version=v3", "invalid provenance SLSA version");
        check("type=provenance,reproducible=perhaps", "failed to parse reproducible flag");
        check("type=provenance,filname=x", "unknown attribute \"filname\"");
        check("type=sbom,X=y", "is for a scanner");
    }
}
