//! Operating system and processor an image is for (spec PLAT-01, PLAT-02).

use std::fmt;
use std::str::FromStr;

/// An OCI platform in its normal form: `linux/amd64`, `linux/arm/v7`.
///
/// The variant that an architecture implies (`v8` of arm64, `v1` of amd64) is left out, so that equal platforms
/// compare equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, `linux`.
    pub os: String,
    /// Architecture by Go's names, `amd64`.
    pub architecture: String,
    /// Variant of the architecture, `v7`; empty for none.
    pub variant: String,
    /// Version of the operating system; empty for none.
    pub os_version: String,
}

/// A platform could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse platform {text}: {reason}")]
pub struct ParsePlatformError {
    text: String,
    reason: &'static str,
}

impl ParsePlatformError {
    /// Why, without the text that was given.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl Platform {
    /// Makes a platform and brings it to its normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normal_architecture(architecture, variant);
        Platform { os, architecture, variant, os_version: String::new() }
    }

    /// The platform of this machine.
    pub fn host() -> Platform {
        Platform::new("linux", std::env::consts::ARCH, "")
    }

    /// The platforms whose programs a machine of this one runs by itself, this one first (PLAT-05).
    pub fn best_first(&self) -> Vec<Platform> {
        let of = |architecture: &str, variant: String| {
            let os_version = self.os_version.clone();
            Platform { os_version, ..Platform::new(&self.os, architecture, &variant) }
        };
        // A Dockerfile may name any variant, and each level below it is one more entry.
        let number = |text: &str| text.parse::<u8>().ok().map(u32::from);
        let variant = self.variant.strip_prefix('v').unwrap_or(&self.variant);
        let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
        let mut all = vec![self.clone()];
        match &*self.architecture {
            "amd64" => {
                let below = (1..number(variant).unwrap_or(1)).rev();
                all.extend(below.map(|level| of("amd64", format!("v{level}"))));
                all.push(of("386", String::new()));
            }
            "arm" => {
                let below = (5..number(variant).unwrap_or(5)).rev();
                all.extend(below.map(|level| of("arm", format!("v{level}"))));
            }
            "arm64" => {
                let minor = number(minor).unwrap_or(0);
                let is_nine = number(major) == Some(9);
                let nines = (1..if is_nine { minor } else { 0 }).rev();
                all.extend(nines.map(|level| of("arm64", format!("v9.{level}"))));
                all.extend((is_nine && minor > 0).then(|| of("arm64", "v9".to_owned())));
                // Each 9.x has all of 8.(x + 5).
                let eights = if is_nine { (minor + 5).min(9) + 1 } else { minor };
                all.extend((1..eights).rev().map(|level| of("arm64", format!("v8.{level}"))));
                all.push(of("arm64", String::new()));
                all.extend((5..=8).rev().map(|level| of("arm", format!("v{level}"))));
            }
            _ => {}
        }
        all.dedup();
        all
    }

    /// Whether programs for `other` run here without an emulator.
    pub fn runs(&self, other: &Platform) -> bool {
        self.os == other.os
            && (self.architecture == other.architecture
                || matches!(
                    (&*self.architecture, &*other.architecture),
                    ("amd64", "386") | ("arm64", "arm")
                ))
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (&*architecture, &*variant) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    /// `os[(version)]/architecture[/variant]`, as TARGETPLATFORM has it (EXP-92).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `os/arch[/variant]`, `arch` alone, `os` alone, or `local` for this machine.
    fn from_str(text: &str) -> Result<Platform, ParsePlatformError> {
        let fail = |reason| ParsePlatformError { text: text.to_owned(), reason };
        if text == "local" {
            return Ok(Platform::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (os, version) = match parts[0].split_once('(') {
            Some((os, rest)) => (os, rest.strip_suffix(')').ok_or_else(|| fail("missing `)`"))?),
            None => (parts[0], ""),
        };
        let word = |w: &str| {
            !w.is_empty()
                && w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !word(os) || !parts[1..].iter().all(|part| word(part)) {
            return Err(fail(
                "a part is empty or has a character other than letters, digits, `_`, `-`, `.`",
            ));
        }
        let host = Platform::host();
        let mut platform = match parts[..] {
            [_] if is_os(os) => Platform::new(os, &host.architecture, &host.variant),
            [_] if is_architecture(os) => Platform::new("linux", os, ""),
            [_] => return Err(fail("unknown operating system or architecture")),
            [_, architecture] => Platform::new(os, architecture, ""),
            [_, architecture, variant] => Platform::new(os, architecture, variant),
            _ => return Err(fail("too many parts, want os/architecture/variant")),
        };
        platform.os_version = version.to_owned();
        Ok(platform)
    }
}

fn is_os(word: &str) -> bool {
    matches!(
        &*word.to_ascii_lowercase(),
        "linux"
            | "windows"
            | "darwin"
            | "macos"
            | "freebsd"
            | "netbsd"
            | "openbsd"
            | "wasi"
            | "solaris"
    )
}

fn is_architecture(word: &str) -> bool {
    let (architecture, _) = normal_architecture(word, "");
    matches!(
        &*architecture,
        "amd64"
            | "386"
            | "arm64"
            | "arm"
            | "ppc64le"
            | "ppc64"
            | "s390x"
            | "riscv64"
            | "loong64"
            | "mips64le"
            | "mips64"
            | "wasm"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_here_comes_best_first() {
        // PLAT-05
        let check = |text: &str, want: &str| {
            let all = text.parse::<Platform>().expect("a platform").best_first();
            let all: Vec<String> = all.iter().map(Platform::to_string).collect();
            assert_eq!(all.join(" "), want, "{text}");
        };
        check("linux/amd64", "linux/amd64 linux/386");
        check("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386");
        check("linux/arm/v7", "linux/arm/v7 linux/arm/v6 linux/arm/v5");
        let arm = "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5";
        check("linux/arm64", &format!("linux/arm64 {arm}"));
        check("linux/arm64/v8.1", &format!("linux/arm64/v8.1 linux/arm64 {arm}"));
        check(
            "linux/arm64/v9",
            &format!(
                "linux/arm64/v9 linux/arm64/v8.5 linux/arm64/v8.4 linux/arm64/v8.3 linux/arm64/v8.2 \
                 linux/arm64/v8.1 linux/arm64 {arm}"
            ),
        );
        check("linux/s390x", "linux/s390x");
        check("linux/amd64/v4000000000", "linux/amd64/v4000000000 linux/386");
        assert!(Platform::new("linux", "arm64", "v9.255").best_first().len() < 300);
    }

    #[test]
    fn names_are_normalised() {
        let check = |text: &str, want: &str| {
            assert_eq!(
                text.parse::<Platform>().map(|p| p.to_string()),
                Ok(want.to_owned()),
                "{text}"
            );
        };
        check("linux/x86_64", "linux/amd64"); // PLAT-02
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/armhf", "linux/arm/v7");
        check("linux/amd64/v1", "linux/amd64");
        check("macos/arm64", "darwin/arm64");
        check("arm64", "linux/arm64");
        assert!("bad/1/2/3/4".parse::<Platform>().is_err());
        assert!("linux/".parse::<Platform>().is_err());
    }
}
