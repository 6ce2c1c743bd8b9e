//! The flags of `shale cache` and `shale prune` as they are typed, and what a collection is asked by them.

use clap::{Args, Subcommand};
use store::{GcFilter, GcPolicy, ItemKind};

use super::values::{duration_ms, size_bytes};
use super::{MountsArgs, UsageError};

/// `shale cache`.
#[derive(Args, Debug)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

/// What is to be done with the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the results that are kept
    Ls(LsArgs),
    /// Show what takes how much of the disk
    Du(DuArgs),
    /// Remove results that nothing needs
    Prune(PruneArgs),
    /// Look at cache mounts, empty and move them
    Mounts(MountsArgs),
    /// Check everything that the store has; name what is not as it should be
    Verify(VerifyArgs),
}

/// `shale cache ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Base layers, blobs, cache mounts and sources too
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only what matches: until=24h, type=step|base|blob|mount|source|download, step=TEXT, id=ID
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Whole ids and steps
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// table, or json: one object a line
    #[arg(long, value_name = "FORM", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
}

/// `shale cache du`.
#[derive(Args, Debug)]
pub(crate) struct DuArgs {
    /// Every single thing
    #[arg(long, short = 'v')]
    pub(crate) verbose: bool,
    /// table or json
    #[arg(long, value_name = "FORM", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
}

/// `shale cache prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Also forget steps whose layers stay because an image needs them
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only what matches: until=24h (not used for so long), type=step|base|blob|mount|source|download, step=TEXT, id=ID
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Stop as soon as the whole store takes no more than this, what is worth least first
    #[arg(long, value_name = "SIZE", visible_aliases = ["keep-storage", "cache-max"], alias = "reserved-space")]
    pub(crate) max_used_space: Option<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// No effect: nobody is asked
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
}

/// `shale cache verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Only records and what they refer to, no file of a layer and no blob
    #[arg(long)]
    pub(crate) quick: bool,
}

/// `shale prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneAllArgs {
    /// Also forget steps whose layers stay because an image needs them
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// No effect: nobody is asked
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
}

/// What `shale cache prune` asks: the cache, no image.
pub(crate) fn prune_policy(typed: &PruneArgs) -> Result<GcPolicy, UsageError> {
    Ok(GcPolicy {
        max_bytes: match typed.max_used_space.as_deref() {
            Some(text) => Some(size_bytes(text).map_err(|e| e.of_flag("--max-used-space", text))?),
            None => None,
        },
        all: true,
        keep_images: true,
        forget_shared: typed.all,
        filter: gc_filter(&typed.filter)?,
        dry_run: typed.dry_run,
        ..GcPolicy::default()
    })
}

/// What `shale prune` asks: images without a name too.
pub(crate) fn prune_all_policy(typed: &PruneAllArgs) -> GcPolicy {
    GcPolicy { all: true, forget_shared: typed.all, dry_run: typed.dry_run, ..GcPolicy::default() }
}

/// `--filter KEY=VALUE`: of several with one key one has to match, and each key.
pub(crate) fn gc_filter(texts: &[String]) -> Result<GcFilter, UsageError> {
    let mut filter = GcFilter::default();
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            return Err(invalid(text, "it has no value"));
        };
        match key {
            "until" | "unused-for" => {
                let ms = duration_ms(value).ok_or_else(|| invalid(text, "want a time like 24h"))?;
                filter.unused_secs = Some(i64::try_from(ms / 1000).unwrap_or(i64::MAX));
            }
            "type" => filter.kinds.extend(kinds(value).ok_or_else(|| {
                invalid(text, "want step, base, blob, mount, source or download")
            })?),
            "step" | "description" => filter.texts.push(value.to_owned()),
            "id" => filter.ids.push(value.to_owned()),
            _ => return Err(invalid(text, "want until, type, step or id")),
        }
    }
    Ok(filter)
}

/// A kind in our words or BuildKit's.
fn kinds(text: &str) -> Option<Vec<ItemKind>> {
    Some(match text {
        "step" => vec![ItemKind::Step],
        "base" => vec![ItemKind::Base],
        "blob" => vec![ItemKind::Blob],
        "download" => vec![ItemKind::Partial],
        "regular" => vec![ItemKind::Step, ItemKind::Base, ItemKind::Blob],
        "mount" | "exec.cachemount" => vec![ItemKind::Mount],
        "source" | "source.local" | "source.git.checkout" => vec![ItemKind::Source],
        _ => return None,
    })
}

fn invalid(text: &str, why: &str) -> UsageError {
    UsageError::new(format!("invalid filter {text:?}: {why}"))
        .with_hint("for example --filter until=24h --filter type=mount --filter step='RUN make'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(texts: &[&str]) -> Result<GcFilter, UsageError> {
        gc_filter(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn filters_are_read_or_refused() {
        let all = filter(&["until=36h", "type=mount", "type=regular", "step=RUN a=b", "id=0a"]);
        let all = all.expect("a filter");
        assert_eq!(all.unused_secs, Some(36 * 3600));
        let kinds = [ItemKind::Mount, ItemKind::Step, ItemKind::Base, ItemKind::Blob];
        assert_eq!(all.kinds, kinds);
        assert_eq!((&*all.texts, &*all.ids), (&["RUN a=b".to_owned()][..], &["0a".to_owned()][..]));
        assert!(filter(&[]).expect("nothing").is_empty());
        for wrong in ["until", "until=soon", "type=frontend", "colour=red", "=x"] {
            let error = filter(&[wrong]).expect_err(wrong);
            assert!(error.message.contains(wrong) && error.hint.is_some(), "{error}");
        }
    }
}
