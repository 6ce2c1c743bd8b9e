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
    #[error("invalid check option {}", go_quote(.0))]
    Unknown(String),
    /// `error` with a value that is neither true nor false.
    #[error(
        "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
        go_quote(.option), go_quote(.value)
    )]
    NotBoolean {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl CheckOptions {
    /// Reads the value of a `check` directive or comment. What stands behind the first blank is
    /// ignored (LEX-55).
    ///
    /// # Errors
    /// An option that does not exist, a value that is no boolean.
    pub fn parse(value: &str) -> Result<CheckOptions, CheckError> {
        CheckOptions::parse_argument(value.trim().split(' ').next().unwrap_or_default())
    }

    /// Reads the value of the build argument BUILDKIT_DOCKERFILE_CHECK, which may have blanks
    /// around its parts (LINT-06). Of an option that is there twice the last one counts, but `all`
    /// stays.
    ///
    /// # Errors
    /// As [`CheckOptions::parse`].
    pub fn parse_argument(value: &str) -> Result<CheckOptions, CheckError> {
        let mut options = CheckOptions::default();
        let value = value.trim();
        if value.is_empty() {
            return Ok(options);
        }
        for part in value.splitn(3, ';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(CheckError::Unknown(part.to_owned()));
            };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "skip" => options.skip.set(value),
                "experimental" => options.experimental.set(value),
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

    /// Whether a rule is to be skipped. Experimental ones are switched on, never skipped (LINT-05).
    pub fn skips(&self, rule: &str) -> bool {
        self.skip.has(rule)
    }

    /// Whether an experimental rule is switched on.
    pub fn wants_experimental(&self, rule: &str) -> bool {
        self.experimental.has(rule)
    }
}

impl Rules {
    fn set(&mut self, list: &str) {
        if list == "all" {
            *self = Rules::All;
        } else if *self != Rules::All {
            *self = Rules::Named(list.split(',').map(|name| name.trim().to_owned()).collect());
        }
    }

    fn has(&self, rule: &str) -> bool {
        match self {
            Rules::All => true,
            Rules::Named(names) => names.iter().any(|name| name == rule),
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
        let options = CheckOptions::parse("skip=all;experimental=C").unwrap();
        assert!(options.skips("A") && options.wants_experimental("C"));
        assert_eq!(CheckOptions::parse(""), Ok(CheckOptions::default()));
        let expect = "invalid check option \"foo\"";
        assert_eq!(error("foo=bar"), expect);
        assert_eq!(error("foo"), expect);
        assert_eq!(
            error("error=maybe"),
            "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": \
             invalid syntax"
        );
    }

    #[test]
    fn blanks_end_a_directive_but_not_an_argument() {
        let text = " skip = A , B ; error = 1 ";
        let options = CheckOptions::parse_argument(text).unwrap();
        assert!(options.error && options.skips("A") && options.skips("B"));
        assert_eq!(error(text), "invalid check option \"skip\"");
    }

    #[test]
    fn the_last_one_of_an_option_counts() {
        let options = CheckOptions::parse("skip=A;skip=B;error=1").unwrap();
        assert!(!options.skips("A") && options.skips("B") && options.error);
        assert!(CheckOptions::parse("skip=all;skip=B").unwrap().skips("A"));
        // Three parts are told apart: a fourth belongs to the third.
        let options = CheckOptions::parse("error=0;skip=A;skip=B;error=1").unwrap();
        assert!(!options.error && options.skips("B;error=1") && !options.skips("B"));
    }
}
