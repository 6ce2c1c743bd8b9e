//! Gems that are installed: `specifications/*.gemspec`, as RubyGems writes them.

use tree::TreeError;

use super::look::{Found, Left, Look, Url};
use super::read::{self, Regular};

/// The longest have some hundred, for dependencies.
const LINES_MAX: usize = 20_000;

#[derive(Default)]
struct Gem {
    name: String,
    version: String,
    platform: String,
    license: String,
}

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(mut lines) = read::lines(look, file)? else { return Ok(()) };
    let mut gem = Gem::default();
    for count in 0.. {
        if count == LINES_MAX {
            look.leave_out(Left::Large, &file.path);
            return Ok(());
        }
        let Some(line) = lines.next_line()? else { break };
        gem.learn(line.trim());
    }
    if gem.version.is_empty() {
        return Ok(());
    }
    let platform = if gem.platform == "ruby" { "" } else { &gem.platform };
    look.add(&Found {
        name: &gem.name,
        version: &gem.version,
        url: Url {
            kind: "gem",
            namespace: "",
            name: &gem.name,
            version: &gem.version,
            qualifiers: &[("platform", platform)],
        },
        license: Some(gem.license.as_str()).filter(|license| !license.is_empty()),
        found_in: &file.path,
        inside: "",
    });
    Ok(())
}

impl Gem {
    fn learn(&mut self, line: &str) {
        // What RubyGems itself reads of a file that it has written.
        if let Some(stub) = line.strip_prefix("# stub: ") {
            let mut words = stub.split(' ').map(str::to_owned);
            self.name = words.next().unwrap_or_default();
            self.version = words.next().unwrap_or_default();
            self.platform = words.next().unwrap_or_default();
            return;
        }
        let Some((member, value)) = line.split_once('=') else { return };
        let Some(member) = member.trim_end().strip_prefix("s.") else { return };
        let texts: Vec<&str> = value.split('"').skip(1).step_by(2).take(20).collect();
        let first = texts.first().copied().unwrap_or_default();
        match member {
            "name" if self.name.is_empty() => self.name = first.to_owned(),
            "version" if self.version.is_empty() => self.version = first.to_owned(),
            "platform" if self.platform.is_empty() => self.platform = first.to_owned(),
            "license" | "licenses" if self.license.is_empty() => self.license = texts.join(" or "),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn gems_say_who_they_are() {
        let stub = "# -*- encoding: utf-8 -*-\n# stub: nokogiri 1.16.0 x86_64-linux lib\n\n\
            Gem::Specification.new do |s|\n  s.name = \"other\".freeze\n  s.version = \"9\"\n\
            \x20 s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\nend\n";
        let old = "Gem::Specification.new do |s|\n  s.name = 'x'\n  s.name = \"rake\"\n\
            \x20 s.version = Gem::Version.new(\"13.0\")\nend\n";
        let tree = [
            ("usr/lib/ruby/gems/3.1.0/specifications/nokogiri.gemspec", stub),
            ("usr/lib/ruby/gems/3.1.0/specifications/default/rake.gemspec", old),
            ("app/own.gemspec", old),
            ("x/specifications/none.gemspec", "s.name\n=\"\n# stub: \n"),
        ];
        let found =
            check(&tree, &["pkg:gem/nokogiri@1.16.0?platform=x86_64-linux", "pkg:gem/rake@13.0"]);
        let gem = found.packages.first().expect("one");
        assert_eq!(gem.license.as_deref(), Some("MIT or Ruby"));
    }
}
