//! What `--from` of COPY and `from=` of a mount mean (COPY-70 to COPY-76, MNT-14, MNT-15).

use super::StageBuild;
use super::from::{Shown, Tree};
use crate::outline::Found;
use crate::site::{Fail, Site};
use crate::{context_value, lint};

/// Who asks, for the wording of errors.
pub(super) enum Asker<'t> {
    Copy,
    /// A mount with its target.
    Mount(&'t str),
}

/// The tree that a name means: an earlier stage, a named context, an image.
pub(super) fn tree(
    build: &mut StageBuild<'_, '_>,
    name: &str,
    asker: &Asker<'_>,
    site: &Site,
) -> Result<Tree, Fail> {
    let index_allowed = matches!(asker, Asker::Copy);
    let number = build.number;
    match build.lowering.outline.find(name, number, index_allowed) {
        Found::BadIndex => {
            return Err(site.error("invalid-stage-index", format!("invalid stage index {name}")));
        }
        Found::Stage(other) if other == number => {
            let name = build.lowering.outline.display_name(number);
            let message = format!("circular dependency detected on stage: {name}");
            return Err(site.error("circular-dependency", message)); // COPY-72
        }
        Found::Stage(other) if other > number => {
            return Err(site.error("later-stage", later_stage(build, name, asker)));
        }
        Found::Stage(other) => {
            return Ok(Tree::Stack(build.lowering.stage(other, site)?.top));
        }
        Found::Nothing => {}
    }
    let lowering = &mut *build.lowering;
    let platform = lowering.variant.platform.clone(); // PLAT-04
    if name == "scratch" {
        return Ok(Tree::Stack(lowering.scratch(&platform))); // COPY-75
    }
    let outline = lowering.outline;
    if let Some(context) = context_value::find(&outline.request.contexts, name, &platform) {
        return lowering.tree_of_context(context, &platform, site);
    }
    let image = lowering.image_called(name, &platform, site).map_err(|mut fail| {
        fail.help = build.stage_hint(name).or(fail.help.take());
        fail
    })?;
    lint::base_platform(build.lowering.findings, name, &platform, &image.config, site);
    Ok(Tree::Stack(build.lowering.image_vertex(image, &platform, site, Shown::Plain)))
}

fn later_stage(build: &StageBuild<'_, '_>, name: &str, asker: &Asker<'_>) -> String {
    match asker {
        Asker::Copy => format!(
            "cannot copy from stage {name:?}, it needs to be defined before current stage {:?}",
            build.lowering.outline.display_name(build.number)
        ),
        Asker::Mount(target) => format!(
            "cannot mount from stage {name:?} to {target:?}, stage needs to be defined before \
             current command"
        ),
    }
}
