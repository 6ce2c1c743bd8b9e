//! Attributes of caches in the cloud, with what the environment says where the command line is silent (CIO-07 to
//! CIO-09).

use registry::Secret;
use remotecache::{AwsEnvironment, AzblobOptions, GhaOptions, S3Options};

use super::Attributes;
use crate::args::values::{duration_ms, go_bool};
use crate::args::{Surroundings, UsageError};

/// An object that is older is touched when it is needed again: one day.
const TOUCH_REFRESH_S: u64 = 24 * 60 * 60;
/// Longest time for one transfer of GitHub's service: ten minutes.
const GHA_TIMEOUT_S: u64 = 10 * 60;

/// A bucket.
pub(super) fn s3(typed: &mut Attributes, around: &Surroundings) -> Result<S3Options, UsageError> {
    let or_variable = |given: Option<String>, variable: &str| {
        let given = given.filter(|text| !text.is_empty());
        given.or_else(|| around.text(variable).map(str::to_owned))
    };
    let not_set = |name: &str, variable: &str| {
        UsageError::new(format!("{name} (${variable}) not set for s3 cache"))
    };
    let bucket = or_variable(typed.text("bucket"), "AWS_BUCKET");
    let region = or_variable(typed.text("region"), "AWS_REGION");
    let options = S3Options {
        bucket: bucket.ok_or_else(|| not_set("bucket", "AWS_BUCKET"))?,
        region: region.ok_or_else(|| not_set("region", "AWS_REGION"))?,
        names: names(typed),
        prefix: typed.text("prefix").unwrap_or_default(),
        blobs_prefix: typed.text("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
        manifests_prefix: typed.text("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
        endpoint_url: typed.text("endpoint_url").filter(|url| !url.is_empty()),
        use_path_style: typed.switch("use_path_style", false)?,
        access_key_id: typed.text("access_key_id").filter(|id| !id.is_empty()),
        secret_access_key: secret(typed, "secret_access_key"),
        session_token: secret(typed, "session_token"),
        touch_refresh_s: seconds(typed, "touch_refresh", TOUCH_REFRESH_S)?,
        upload_parallelism: positive(typed, "upload_parallelism")?.unwrap_or(4),
        retry_max_attempts: positive(typed, "retry_max_attempts")?
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        environment: aws_environment(around),
    };
    // No difference here: retries back off and adapt, and encodings are never asked for.
    match typed.text("retry_mode").as_deref() {
        None | Some("standard" | "adaptive") => {}
        Some(_) => {
            return Err(UsageError::new("retry_mode must be \"standard\" or \"adaptive\""));
        }
    }
    typed.switch("disable_accept_encoding", false)?;
    Ok(options)
}

fn aws_environment(around: &Surroundings) -> AwsEnvironment {
    let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
        let name = name.to_str().filter(|name| name.starts_with("AWS_"))?;
        Some((name.to_owned(), Secret::new(value.to_str()?.to_owned())))
    };
    AwsEnvironment {
        variables: around.vars.iter().filter_map(text).collect(),
        home: around.raw("HOME").map(std::path::PathBuf::from),
    }
}

/// GitHub's service; `None` outside of a job, where the reference leaves the cache out, too.
pub(super) fn gha(
    typed: &mut Attributes,
    around: &Surroundings,
) -> Result<Option<GhaOptions>, UsageError> {
    let version = typed.number::<u32>("version")?;
    if let Some(other) = version.filter(|version| !matches!(version, 1 | 2)) {
        return Err(UsageError::new(format!("unknown version {other} of a gha cache"))
            .with_hint("use 1 or 2"));
    }
    let is_v2 =
        around.text("ACTIONS_CACHE_SERVICE_V2").is_some_and(|text| go_bool(text) == Ok(true));
    let wants_v2 = version.map_or(is_v2, |version| version == 2);
    let variable = |name: &str| around.text(name).map(str::to_owned);
    let token =
        secret(typed, "token").or_else(|| variable("ACTIONS_RUNTIME_TOKEN").map(Secret::new));
    let results = || variable("ACTIONS_RESULTS_URL");
    let url_v2 = typed.text("url_v2").or_else(|| results().filter(|_| wants_v2));
    let url = typed.text("url").or_else(|| variable("ACTIONS_CACHE_URL")).or_else(results);
    let scope = typed.text("scope").filter(|scope| !scope.is_empty());
    let timeout_s = seconds(typed, "timeout", GHA_TIMEOUT_S)?;
    // What a client needs to list entries, which this one does not.
    let _ = (typed.text("repository"), secret(typed, "ghtoken"));
    let url_v2 = url_v2.filter(|url| !url.is_empty() && version != Some(1));
    let url = url.filter(|url| !url.is_empty());
    let (Some(token), true) = (token, url.is_some() || url_v2.is_some()) else { return Ok(None) };
    Ok(Some(GhaOptions {
        url,
        url_v2,
        version,
        token,
        scope: scope.unwrap_or_else(|| "buildkit".to_owned()),
        timeout_s,
    }))
}

/// What is said when [`gha`] finds no job around it.
pub(super) fn no_gha(flag: &str) -> String {
    format!(
        "{flag} type=gha is left out: no address or token of the cache service (outside of GitHub \
         Actions; in a job, ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN must reach this program)"
    )
}

/// A container of Azure's blob storage.
pub(super) fn azblob(
    typed: &mut Attributes,
    around: &Surroundings,
) -> Result<AzblobOptions, UsageError> {
    const PREFIX: &str = "BUILDKIT_AZURE_STORAGE_";
    let variable = |name: &str| around.text(&format!("{PREFIX}{name}")).map(str::to_owned);
    let account_url = typed.text("account_url").or_else(|| variable("ACCOUNT_URL"));
    let account_url = account_url.filter(|url| !url.is_empty()).ok_or_else(|| {
        UsageError::new(format!(
            "either ${{{PREFIX}ACCOUNT_URL}} or account_url attribute is required for azblob cache"
        ))
    })?;
    let host = account_url.split("://").nth(1).unwrap_or_default();
    let first = host.split(['.', '/', ':']).next().unwrap_or_default().to_owned();
    let account_name = typed.text("account_name").or_else(|| variable("ACCOUNT_NAME"));
    let container = typed.text("container").or_else(|| variable("CONTAINER"));
    let secret_access_key = secret(typed, "secret_access_key").ok_or_else(|| {
        UsageError::new("secret_access_key is required for azblob cache")
            .with_hint("other credentials of Azure are not supported")
    })?;
    Ok(AzblobOptions {
        account_name: account_name.unwrap_or(first),
        account_url,
        container: container.unwrap_or_else(|| "buildkit-cache".to_owned()),
        names: names(typed),
        prefix: typed.text("prefix").or_else(|| variable("PREFIX")).unwrap_or_default(),
        blobs_prefix: typed.text("blobs_prefix").unwrap_or_else(|| "blobs".to_owned()),
        manifests_prefix: typed.text("manifests_prefix").unwrap_or_else(|| "manifests".to_owned()),
        secret_access_key,
    })
}

/// `name`: several with `;` between them.
fn names(typed: &mut Attributes) -> Vec<String> {
    let text = typed.text("name").unwrap_or_default();
    let names: Vec<String> =
        text.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() { vec!["buildkit".to_owned()] } else { names }
}

fn secret(typed: &mut Attributes, name: &'static str) -> Option<Secret> {
    typed.text(name).filter(|text| !text.is_empty()).map(Secret::new)
}

fn positive(typed: &mut Attributes, name: &'static str) -> Result<Option<usize>, UsageError> {
    let Some(text) = typed.text(name) else { return Ok(None) };
    let count = text.parse().ok().filter(|count| *count > 0);
    count.map(Some).ok_or_else(|| UsageError::new(format!("{name} must be a positive integer")))
}

/// A duration as Go writes it: `24h`, `1h30m`, `90s`, `0`.
fn seconds(typed: &mut Attributes, name: &'static str, default: u64) -> Result<u64, UsageError> {
    let Some(text) = typed.text(name) else { return Ok(default) };
    duration_s(&text).ok_or_else(|| {
        UsageError::new(format!("invalid duration {text:?} for {name}"))
            .with_hint("write it like 24h, 1h30m or 90s")
    })
}

/// Whole seconds of a duration; `None` when it is none. A zero needs no unit; days and weeks are none of Go's.
pub(super) fn duration_s(text: &str) -> Option<u64> {
    match text {
        "0" => Some(0),
        text if text.contains(['d', 'w']) => None,
        text => duration_ms(text).map(|ms| ms / 1000),
    }
}
