//! Limits of a step's resources (security.md section 2, XENV-16): hard ones are inherited and never raised.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sandbox::Failure;

/// Descriptors that a step may open unless it raises its own limit: what programs were written for.
const DESCRIPTORS_SOFT: u64 = 1 << 20;

const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Sets the usual limits, then those that were asked for.
pub(super) fn set(wanted: &[(String, i64, i64)]) -> Result<(), Failure> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = hard.unwrap_or(DESCRIPTORS_SOFT).min(DESCRIPTORS_SOFT);
    set_one("nofile", Resource::Nofile, Some(soft), hard)?;
    set_one("core", Resource::Core, Some(0), Some(0))?;
    for (name, soft, hard) in wanted {
        let Some((_, resource)) = NAMES.iter().find(|(known, _)| known == name) else {
            return Err(Failure::Limit { name: name.clone(), errno: 22 });
        };
        let number = |value: &i64| u64::try_from(*value).ok();
        set_one(name, *resource, number(soft), number(hard))?;
    }
    Ok(())
}

/// `None` is unlimited.
fn set_one(
    name: &str,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
) -> Result<(), Failure> {
    let wanted = Rlimit { current: soft, maximum: hard };
    let failed = |errno: rustix::io::Errno| Failure::Limit {
        name: name.to_owned(),
        errno: errno.raw_os_error(),
    };
    match setrlimit(resource, wanted) {
        Err(rustix::io::Errno::PERM) => {
            // More than we may give: as much as there is.
            let most = getrlimit(resource).maximum;
            let least = |value: Option<u64>| match (value, most) {
                (Some(value), Some(most)) => Some(value.min(most)),
                (value, most) => value.or(most),
            };
            let wanted = Rlimit { current: least(soft), maximum: most };
            setrlimit(resource, wanted).map_err(failed)
        }
        result => result.map_err(failed),
    }
}
