//! `shale rmi`: takes names away, and with the last one the image and what only it has brought.

use std::collections::HashSet;

use engine::{BuildError, BuildErrorKind};
use oci::{ChainId, ImageId, Reference};
use store::{GcFilter, GcPolicy, GcReport, ItemKind, Store, StoredImage, Tagged};

use super::filter::Listed;
use super::{Shelf, shown_id, store_error};
use crate::args::RmiArgs;
use crate::commands::{Done, Failure, Process, print};
use crate::exit::Exit;

/// `shale rmi`: all that can be removed, with a line for what cannot.
pub(crate) fn rmi(process: &mut Process, typed: &RmiArgs) -> Done {
    if process.engine.is_some() {
        return delete_trash(process);
    }
    let shelf = Shelf::open(process)?;
    let (mut failures, mut is_any_done) = (Vec::new(), false);
    let mut gone = Gone::default();
    for asked in &typed.images {
        let mut lines = Lines::default();
        let removed = remove(&shelf, asked, typed.force, &mut lines, &mut gone);
        let removed = removed.and_then(|()| match lines.is_empty() {
            true => Err(in_use(asked)),
            false => Ok(()),
        });
        is_any_done |= !lines.0.is_empty() || removed.is_ok();
        print(&lines.text("Untagged", "Deleted"))?;
        if let Err(failure) = removed {
            let exit = process.report(&failure);
            let is_missing = matches!(&failure, Failure::Engine(e) if is_missing(e));
            failures.extend((!is_missing || !typed.force).then_some(exit));
        }
    }
    let Shelf { environment, lease } = shelf;
    // What this process has looked at would stay otherwise.
    drop(lease);
    let store = environment.store;
    gone.collect(&store, false)?;
    let exit = rmi_exit(&failures, is_any_done);
    // What this user alone cannot delete can be in an engine. What cannot be there either is deleted by a later build.
    if store.empty_trash().is_ok_and(|report| !report.left.is_empty()) {
        let _ = process.in_engine(None, None, false);
    }
    Ok(exit.into())
}

/// The second half, in an engine.
fn delete_trash(process: &mut Process) -> Done {
    let store = process.store()?;
    store.empty_trash().map_err(store_error("cannot delete what was removed"))?;
    Ok(Exit::Ok.into())
}

fn in_use(asked: &str) -> Failure {
    let text = format!("conflict: unable to delete {asked} - a running command uses the image");
    let hint = "remove it again when the command has ended";
    BuildError::new(BuildErrorKind::Files, text).with_hint(hint).into()
}

fn is_missing(error: &BuildError) -> bool {
    error.to_string().starts_with("no such image")
}

/// A failure's own code when nothing else came of the command.
fn rmi_exit(failures: &[Exit], is_any_done: bool) -> Exit {
    match failures {
        [] => Exit::Ok,
        [first, others @ ..] if !is_any_done && others.iter().all(|other| other == first) => *first,
        _ => Exit::Failed,
    }
}

/// What was done: names that were taken away, and what was deleted.
#[derive(Default)]
pub(super) struct Lines(Vec<(bool, String)>);

impl Lines {
    fn untagged(&mut self, name: &Reference) {
        self.0.push((true, name.familiar()));
    }

    fn deleted(&mut self, id: String) {
        self.0.push((false, id));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line for each, with these words before it.
    pub(super) fn text(&self, untagged: &str, deleted: &str) -> String {
        let word = |is_name: bool| if is_name { untagged } else { deleted };
        let lines = self.0.iter().map(|(is_name, what)| format!("{}: {what}\n", word(*is_name)));
        lines.collect()
    }
}

/// Images that are gone, each with the chains of layers that no other image has.
#[derive(Default)]
pub(super) struct Gone(Vec<(StoredImage, Vec<ChainId>)>);

impl Gone {
    /// Notes an image that is gone; `others` are those that stay.
    fn add(&mut self, image: StoredImage, others: &[StoredImage], lines: &mut Lines) {
        lines.deleted(image.id.to_string());
        let chains = lost_chains(&image, others);
        chains.iter().for_each(|chain| lines.deleted(chain.to_string()));
        self.0.push((image, chains));
    }

    /// Which images these are.
    pub(super) fn ids(&self) -> HashSet<ImageId> {
        self.0.iter().map(|(image, _)| image.id).collect()
    }

    /// Moves to trash what only these images have brought: layers that no step has made and no step stands on, blobs
    /// and manifests. What steps have made is the cache's. With `dry_run` they are still there, and so it all stays.
    pub(super) fn collect(&self, store: &Store, dry_run: bool) -> Result<GcReport, Failure> {
        if self.0.is_empty() {
            return Ok(GcReport::default());
        }
        let failed = store_error("cannot remove what the image has brought");
        let mut ids = Vec::new();
        let lease = store.lease().map_err(&failed)?;
        for (image, chains) in &self.0 {
            ids.extend(image.stack.layers.iter().map(ToString::to_string));
            // Layers that were unpacked after the image came are known by their chains alone.
            for chain in chains {
                let top =
                    lease.chain(chain).map_err(&failed)?.and_then(|layers| layers.last().copied());
                ids.extend(top.map(|layer| layer.to_string()));
            }
            ids.extend(image.manifest.as_ref().map(|manifest| manifest.digest.hex()));
            let blobs = store.blobs_of(image).map_err(&failed)?;
            ids.extend(blobs.iter().map(oci::Digest::hex));
        }
        let kinds = vec![ItemKind::Base, ItemKind::Blob];
        // It would protect what it has looked at.
        drop(lease);
        let filter = GcFilter { ids, kinds, ..GcFilter::default() };
        let policy = GcPolicy {
            all: true,
            keep_images: true,
            keep_results: true,
            filter,
            dry_run,
            as_if_gone: self.ids(),
            ..GcPolicy::default()
        };
        store.gc(&policy).map_err(&failed)
    }
}

/// Takes a name away, and with the last name what it meant: an image, or an index with those images that have no
/// other name. What was done is told in `lines`, also when the rest of it fails.
pub(super) fn remove(
    shelf: &Shelf,
    asked: &str,
    force: bool,
    lines: &mut Lines,
    gone: &mut Gone,
) -> Result<(), Failure> {
    let failed = store_error("cannot remove the image");
    let store = shelf.lease.store();
    let tagged = engine::find_tagged(&shelf.lease, asked)?;
    let tags = shelf.tags()?;
    let names: Vec<Reference> =
        tags.iter().filter(|(_, other)| *other == tagged).map(|(name, _)| name.clone()).collect();
    let removed = removed_names(&tagged, &names, asked, force)?;
    let others = || tags.iter().filter(|(name, _)| !removed.contains(name));
    if let (Tagged::Image(id), []) = (&tagged, &removed[..])
        && let Some((name, _)) = others().find(|(_, other)| other.images().contains(id))
    {
        let text =
            format!("image {} is one of several platforms", shown_id(&id.to_string(), false));
        return Err(BuildError::new(BuildErrorKind::Files, text)
            .with_hint(format!("remove all of them by their name {}", name.familiar()))
            .into());
    }
    let known = store.repo_digests().map_err(&failed)?;
    for (at, name) in removed.iter().enumerate() {
        store.remove_tag(name).map_err(&failed)?;
        lines.untagged(name);
        let left = names.iter().filter(|other| !removed[..=at].contains(other));
        let is_last = !left.clone().any(|other| other.name() == name.name());
        if is_last {
            let own = known.iter().filter(|(object, other)| {
                *object == tagged.object() && other.name() == name.name() && !names.contains(other)
            });
            own.for_each(|(_, other)| lines.untagged(other));
            store.forget_repo_digests(&tagged.object(), name).map_err(&failed)?;
        }
    }
    if removed.len() < names.len() {
        return Ok(());
    }
    let kept: Vec<ImageId> = others().flat_map(|(_, tagged)| tagged.images()).collect();
    for id in tagged.images().iter().filter(|id| !kept.contains(id)) {
        forget(shelf, id, lines, gone)?;
    }
    Ok(())
}

/// Takes an image away that has no name, unless it gets one at this moment, or somebody uses it.
pub(super) fn forget(
    shelf: &Shelf,
    id: &ImageId,
    lines: &mut Lines,
    gone: &mut Gone,
) -> Result<(), Failure> {
    let failed = store_error("cannot remove the image");
    let store = shelf.lease.store();
    let Some(image) = store.image(id).map_err(&failed)? else { return Ok(()) };
    // They go with the image.
    let known = store.repo_digests().map_err(&failed)?;
    if !shelf.lease.forget_image(id).map_err(&failed)? {
        return Ok(());
    }
    known.iter().filter(|(object, _)| *object == id.0).for_each(|(_, name)| lines.untagged(name));
    let others = store.images().map_err(store_error("cannot list the images"))?;
    gone.add(image, &others, lines);
    Ok(())
}

/// What [`remove`] and [`forget`] would do with all of these.
pub(super) fn foretell(
    shelf: &Shelf,
    victims: &[&Listed],
    lines: &mut Lines,
) -> Result<Gone, Failure> {
    let failed = store_error("cannot list the images");
    let names: HashSet<&Reference> = victims.iter().flat_map(|victim| &victim.names).collect();
    let tags = shelf.tags()?;
    let others = tags.iter().filter(|(name, _)| !names.contains(name));
    let kept: HashSet<ImageId> = others.flat_map(|(_, tagged)| tagged.images()).collect();
    let mut left = shelf.lease.store().images().map_err(&failed)?;
    let mut gone = Gone::default();
    for victim in victims {
        victim.names.iter().for_each(|name| lines.untagged(name));
        let by_digest = victim.digests.iter().filter(|name| !victim.names.contains(name));
        by_digest.for_each(|name| lines.untagged(name));
        for image in victim.images.iter().filter(|image| !kept.contains(&image.id)) {
            if let Some(at) = left.iter().position(|other| other.id == image.id) {
                let image = left.swap_remove(at);
                gone.add(image, &left, lines);
            }
        }
    }
    Ok(gone)
}

/// The names that go: the one that was asked for, with those by digest that it leaves alone in its repository, or all
/// names of an image that is given by its id.
fn removed_names(
    tagged: &Tagged,
    names: &[Reference],
    asked: &str,
    force: bool,
) -> Result<Vec<Reference>, Failure> {
    let id = match tagged {
        Tagged::Image(id) => id.to_string(),
        Tagged::Index(index) => index.index.digest.to_string(),
    };
    // What is a name goes as one, also where the id happens to begin with the same letters.
    let wanted = asked.parse::<Reference>().ok();
    let is_wanted = |name: &&Reference| wanted.as_ref().is_some_and(|wanted| is_same(name, wanted));
    if let Some(name) = names.iter().find(is_wanted) {
        let rest = |other: &&Reference| *other != name && other.name() == name.name();
        let has_tag = names.iter().filter(rest).any(|other| other.digest().is_none());
        let mut removed = vec![name.clone()];
        if name.digest().is_none() && !has_tag {
            removed.extend(names.iter().filter(rest).cloned());
        }
        return Ok(removed);
    }
    let is_id = id.starts_with(asked) || id.trim_start_matches("sha256:").starts_with(asked);
    let wanted = wanted.filter(|_| !is_id);
    if let (Some(digest), Some(name)) = (wanted.and_then(|wanted| wanted.digest()), names.first()) {
        let text =
            format!("the digest {digest} is that of {} and goes with this name", name.familiar());
        return Err(BuildError::new(BuildErrorKind::Files, text)
            .with_hint(format!("remove it by its name {}", name.familiar()))
            .into());
    }
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    let repositories: HashSet<String> = names.iter().map(Reference::name).collect();
    if force || (tags <= 1 && repositories.len() <= 1) {
        return Ok(names.to_vec());
    }
    let text = format!(
        "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
        shown_id(&id, false)
    );
    let all = names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ");
    Err(BuildError::new(BuildErrorKind::Files, text)
        .with_hint(format!("name one of {all}, or remove all with --force"))
        .into())
}

/// Whether two names mean the same: a digest decides over a tag.
fn is_same(one: &Reference, other: &Reference) -> bool {
    one.name() == other.name()
        && one.digest() == other.digest()
        && (one.digest().is_some() || one.tag() == other.tag())
}

/// Chains of layers that no image has any more, the top first.
fn lost_chains(image: &StoredImage, others: &[StoredImage]) -> Vec<ChainId> {
    let kept: HashSet<ChainId> = others.iter().flat_map(chains).collect();
    let mut lost: Vec<ChainId> =
        chains(image).into_iter().filter(|chain| !kept.contains(chain)).collect();
    lost.reverse();
    lost
}

/// The chain up to each layer, lowest first.
pub(super) fn chains(image: &StoredImage) -> Vec<ChainId> {
    let mut chain: Option<ChainId> = None;
    let next = image.diff_ids.iter().map(|diff_id| {
        let next = chain.map_or(ChainId(diff_id.0), |chain| chain.then(*diff_id));
        chain = Some(next);
        next
    });
    next.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_several_removals_is_docker_s() {
        assert_eq!(rmi_exit(&[], true), Exit::Ok);
        assert_eq!(rmi_exit(&[Exit::Usage], true), Exit::Failed);
        assert_eq!(rmi_exit(&[Exit::Failed, Exit::Failed], false), Exit::Failed);
        assert_eq!(rmi_exit(&[Exit::Usage, Exit::DiskFull], false), Exit::Failed);
        assert_eq!(rmi_exit(&[Exit::Environment], false), Exit::Environment);
    }

    #[test]
    fn names_go_as_docker_takes_them() {
        let id = ImageId(oci::Digest::of(b"config"));
        let digest = oci::Digest::of(b"manifest");
        let check = |names: &[&str], asked: &str, force: bool, want: Result<&[&str], ()>| {
            let name = |text: &&str| text.replace("DIGEST", &digest.to_string()).parse();
            let names: Vec<Reference> = names.iter().map(|n| name(n).expect("a name")).collect();
            let asked = asked.replace("DIGEST", &digest.to_string());
            let asked = asked.replace("ID", &id.0.hex()[..8]);
            let removed = removed_names(&Tagged::Image(id), &names, &asked, force).map_err(|_| ());
            let removed = removed.map(|names| names.iter().map(Reference::familiar).collect());
            let want = want.map(|names| {
                names.iter().map(|n| name(n).expect("a name").familiar()).collect::<Vec<_>>()
            });
            assert_eq!(removed, want, "{asked}");
        };
        check(&["a:1"], "a:1", false, Ok(&["a:1"]));
        check(&["a:1", "a:2", "b:1"], "a:1", false, Ok(&["a:1"]));
        check(&["a:1", "a@DIGEST"], "a:1", false, Ok(&["a:1", "a@DIGEST"]));
        check(&["a:1", "a@DIGEST"], "a@DIGEST", false, Ok(&["a@DIGEST"]));
        check(&["a:1", "a:2", "a@DIGEST"], "a:1", false, Ok(&["a:1"]));
        check(&["a:1"], "ID", false, Ok(&["a:1"]));
        check(&["a:1", "a@DIGEST"], "sha256:ID", false, Ok(&["a:1", "a@DIGEST"]));
        check(&["a:1", "b:1"], "ID", false, Err(()));
        check(&["a:1", "b:1"], "ID", true, Ok(&["a:1", "b:1"]));
        check(&[], "ID", false, Ok(&[]));
        // A name that is the beginning of the id, too.
        let same = &*id.0.hex()[..8].to_owned();
        let (latest, other) = (format!("{same}:latest"), format!("{same}:2"));
        check(&[&latest, &other], same, false, Ok(&[&latest]));
    }
}
