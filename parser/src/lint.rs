//! The options of build checks, as `# check=` has them (LEX-54, LEX-55, LINT-04 to LINT-07).

use crate::quote::go_quote;

/// Which checks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// `error=true`: findings make the build fail.
    pub error: bool,
    skip: Rules,
    experimental: Rules,
}

/// Names of rules, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rules {
    All,
    Named(Vec<String>),
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::Named(Vec::new())
    }
}

/// Why a value of `check` is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No `key=value`, or a key that does not exist.
    #[error("failed to parse check options: invalid check option {}", go_quote(.0))]
    Unknown(String),
    /// `error` with a value that is neither true nor false.
    #[error(
        "failed to parse check options: failed to parse check option {}: strconv.ParseBool: \
         parsing {}: invalid syntax", go_quote(.option), go_quote(.value)
    )]
    NotBoolean {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl CheckOptions {
    /// Reads the value of a `check` directive or of the build argument BUILDKIT_DOCKERFILE_CHECK.
    /// What stands behind the first blank is ignored.
    ///
    /// # Errors
    /// An option that does not exist, a value that is no boolean.
    pub fn parse(value: &str) -> Result<CheckOptions, CheckError> {
        let mut options = CheckOptions::default();
        let value = value.trim().split(' ').next().unwrap_or_default();
        if value.is_empty() {
            return Ok(options);
        }
        for part in value.splitn(3, ';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(CheckError::Unknown(part.to_owned()));
            };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "skip" => options.skip = Rules::parse(value),
                "experimental" => options.experimental = Rules::parse(value),
                "error" => {
                    let (option, value) = (part.to_owned(), value.to_owned());
                    options.error =
                        boolean(&value).ok_or(CheckError::NotBoolean { option, value })?;
                }
                _ => return Err(CheckError::Unknown(key.to_owned())),
            }
        }
        Ok(options)
    }

    /// Whether a rule is to be skipped. An experimental rule that was switched on runs all the same
    /// when all rules are skipped (LINT-05).
    pub fn skips(&self, rule: &str) -> bool {
        match &self.skip {
            Rules::All => !self.wants_experimental(rule),
            Rules::Named(names) => names.iter().any(|name| name == rule),
        }
    }

    /// Whether an experimental rule is switched on.
    pub fn wants_experimental(&self, rule: &str) -> bool {
        match &self.experimental {
            Rules::All => true,
            Rules::Named(names) => names.iter().any(|name| name == rule),
        }
    }
}

impl Rules {
    fn parse(list: &str) -> Rules {
        match list {
            "all" => Rules::All,
            list => Rules::Named(list.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }
}

/// What Go takes for a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(value: &str) -> String {
        CheckOptions::parse(value).unwrap_err().to_string()
    }

    #[test]
    fn options_and_mistakes() {
        let options = CheckOptions::parse("skip=A,B;error=true;experimental=C  why not").unwrap();
        assert!(options.error && options.skips("A") && options.skips("B"));
        assert!(options.wants_experimental("C") && !options.skips("C"));
        // LINT-05: `skip=all` leaves experimental rules that were asked for.
        let options = CheckOptions::parse("skip=all;experimental=C").unwrap();
        assert!(options.skips("A") && !options.skips("C"));
        assert_eq!(CheckOptions::parse(""), Ok(CheckOptions::default()));
        let expect = "failed to parse check options: invalid check option \"foo\"";
        assert_eq!(error("foo=bar"), expect);
        assert_eq!(error("foo"), expect);
        assert_eq!(
            error("error=maybe"),
            "failed to parse check options: failed to parse check option \"error=maybe\": \
             strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
    }
}
