//! The list of rules (LINT-20 to LINT-41): names, what they are about, where they are explained.

/// A build check. The names are BuildKit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the list below says what each is about")]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

/// What is known of a rule besides the function that looks for it.
struct Facts {
    rule: Rule,
    name: &'static str,
    description: &'static str,
    /// Last part of its page's address.
    page: Option<&'static str>,
    /// Off unless a file asks for it.
    is_experimental: bool,
}

impl Rule {
    /// The rule of a name, which is the `code` of its findings.
    pub fn named(name: &str) -> Option<Rule> {
        RULES.iter().find(|facts| facts.name == name).map(|facts| facts.rule)
    }

    /// The name that lists of rules have (LINT-04).
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// One sentence on what is wrong in general.
    pub fn description(self) -> &'static str {
        self.facts().description
    }

    /// Where the rule is explained (LINT-03).
    pub fn url(self) -> Option<String> {
        let page = self.facts().page?;
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }

    /// Whether it is off unless a file asks for it.
    pub fn is_experimental(self) -> bool {
        self.facts().is_experimental
    }

    /// Whether a comment above the instruction that is named can say that the rule is not wanted there (LEX-56). Rules
    /// that compare instructions, or look at images, are switched off for the whole file only.
    pub(super) fn is_about_one_instruction(self) -> bool {
        !matches!(
            self,
            Rule::NoEmptyContinuation
                | Rule::ConsistentInstructionCasing
                | Rule::DuplicateStageName
                | Rule::ReservedStageName
                | Rule::InvalidBaseImagePlatform
                | Rule::InvalidDefaultArgInFrom
        )
    }

    fn facts(self) -> &'static Facts {
        &RULES[self as usize]
    }
}

const fn rule(
    rule: Rule,
    name: &'static str,
    page: &'static str,
    description: &'static str,
) -> Facts {
    Facts { rule, name, description, page: Some(page), is_experimental: false }
}

/// In the order of the variants.
static RULES: [Facts; 22] = [
    rule(
        Rule::StageNameCasing,
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    ),
    rule(
        Rule::FromAsCasing,
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    rule(
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    rule(
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    rule(
        Rule::DuplicateStageName,
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    ),
    rule(
        Rule::ReservedStageName,
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    rule(
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to \
         OS signals",
    ),
    rule(
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    rule(
        Rule::UndefinedArgInFrom,
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    ),
    rule(
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have \
         unexpected results if the base image changes",
    ),
    rule(
        Rule::UndefinedVar,
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    ),
    rule(
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    rule(
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    Facts {
        page: None,
        ..rule(
            Rule::InvalidBaseImagePlatform,
            "InvalidBaseImagePlatform",
            "",
            "Base image platform does not match expected target platform",
        )
    },
    rule(
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
         default behavior",
    ),
    rule(
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    rule(
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    rule(
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    rule(
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    Facts {
        is_experimental: true,
        ..rule(
            Rule::InvalidDefinitionDescription,
            "InvalidDefinitionDescription",
            "invalid-definition-description",
            "Comment for build stage or argument should follow the format: `# <arg/stage name> \
             <description>`. If this is not intended to be a description comment, add an empty \
             line or comment between the instruction and the comment.",
        )
    },
    rule(
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    rule(
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will \
         become an error in a future release",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_own_facts() {
        for (at, facts) in RULES.iter().enumerate() {
            assert_eq!(facts.rule as usize, at, "{}", facts.name);
            assert_eq!(Rule::named(facts.name), Some(facts.rule));
            let of_variant = format!("{:?}", facts.rule);
            assert!(facts.name.eq_ignore_ascii_case(&of_variant), "{}", facts.name);
            let bare = facts.page.map(|page| page.replace('-', ""));
            assert!(
                bare.is_none_or(|bare| bare.eq_ignore_ascii_case(facts.name)),
                "{}",
                facts.name
            );
        }
        let url = "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/";
        assert_eq!(Rule::JsonArgsRecommended.url().as_deref(), Some(url)); // LINT-03
        assert_eq!(Rule::InvalidBaseImagePlatform.url(), None);
    }
}
