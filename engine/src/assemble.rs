//! The config of the result: history with its times, diff ids, created (spec section 6.1 and 6.2).
//!
//! Owns what can only be said when all layers are made. What instructions say was folded by the planner.

use std::sync::Arc;

use graph::{Graph, PlannedHistory, Stack, Target};
use layer::Encoding;
use oci::{DiffId, History, ImageConfig, ImageId, Platform};

use crate::finish;
use crate::image::Base;
use crate::remote::inline;
use crate::session::Session;
use crate::stop::Stop;
use crate::value::{LazyStack, OwnLayer, StackValue, Value};

/// An image before it is handed out.
pub(crate) struct Built {
    pub(crate) platform: Platform,
    pub(crate) stack: Stack,
    /// Its layers, when they were not fetched since it is only pushed.
    pub(crate) lazy: Option<LazyStack>,
    /// Whether its layers are here or in a registry under its name, so that the store can keep it.
    pub(crate) is_kept: bool,
    /// How many of its layers, the lowest ones, are those of the base image.
    pub(crate) base_layers: usize,
    /// The base image, if there is one.
    pub(crate) base: Option<Base>,
    /// What names mean and the store keeps.
    pub(crate) form: Form,
    /// What outputs get that want times rewritten when the first does not, or the other way round (EPO-12).
    pub(crate) others: Vec<Form>,
}

/// One way to write an image.
pub(crate) struct Form {
    pub(crate) config: ImageConfig,
    pub(crate) id: ImageId,
    /// Times in the tars of its own layers that are later are this one.
    pub(crate) encoding: Encoding,
}

impl Built {
    /// The form for outputs that want layers encoded so.
    pub(crate) fn form(&self, encoding: &Encoding) -> &Form {
        self.others.iter().find(|form| form.encoding == *encoding).unwrap_or(&self.form)
    }
}

/// The comment of every entry that an instruction makes (INS-01).
const INSTRUCTION: &str = "buildkit.dockerfile.v0";

/// A target with its finished config. The layers made here are encoded as said.
pub(crate) fn form(
    session: &Arc<Session>,
    target: &Target,
    stack: &StackValue,
    encoding: &Encoding,
    (graph, values): (&Arc<Graph>, &[Value]),
) -> Result<Form, Stop> {
    let mut config = (*target.config).clone();
    let base_layers = config.rootfs.diff_ids.len();
    let layers = own_layers(session, stack, encoding)?;
    config.rootfs.diff_ids.extend(layers.iter().map(|(diff_id, _)| diff_id));
    let base_history = base_history(&mut config, base_layers);
    let epoch = session.epoch().and_then(epoch_text);
    let times: Vec<String> = layers.iter().map(|(_, created)| created.clone()).collect();
    let own = own_history(&target.history, &times);
    config.history = with_times(base_history, own, epoch.as_deref());
    config.created = config.history.iter().rev().find_map(|entry| entry.created.clone()); // IMG-10
    inline::set(&mut config, session, (graph, target, values), stack, &layers)?;
    let id = config.id();
    Ok(Form { config, id, encoding: *encoding })
}

/// The layers above the base, lowest first: digest of the tar, and when it was made.
fn own_layers(
    session: &Arc<Session>,
    stack: &StackValue,
    encoding: &Encoding,
) -> Result<Vec<(DiffId, String)>, Stop> {
    let layers = stack.own_layers().1.into_iter().map(|layer| match layer {
        OwnLayer::Here(layers) => finish::made(session, &layers, encoding),
        OwnLayer::Imported(layer) => Ok((layer.diff_id, layer.created.clone())),
    });
    layers.collect()
}

/// The base's entries, with as many that make a layer as it has layers (IMG-30).
fn base_history(config: &mut ImageConfig, layers: usize) -> Vec<History> {
    let mut history = std::mem::take(&mut config.history);
    let mut left = layers;
    for entry in &mut history {
        match (entry.empty_layer, left) {
            (true, _) => {}
            (false, 0) => entry.empty_layer = true,
            (false, _) => left -= 1,
        }
    }
    let filler = || History {
        created: config.created.clone(),
        comment: Some("buildkit.exporter.image.v0".to_owned()),
        ..History::default()
    };
    history.extend((0..left).map(|_| filler()));
    history
}

/// One entry for each instruction, those with a layer with its time.
fn own_history(planned: &[PlannedHistory], times: &[String]) -> Vec<History> {
    let mut times = times.iter();
    let entry = |entry: &PlannedHistory| History {
        created: entry.vertex.and_then(|_| times.next().cloned()),
        created_by: Some(entry.created_by.clone()),
        author: None,
        comment: Some(INSTRUCTION.to_owned()),
        empty_layer: entry.vertex.is_none(),
    };
    planned.iter().map(entry).collect()
}

/// The whole history. Entries without a layer take the time of the layer near them, the base's where no other is made
/// (INS-04); all of our own are clamped by the epoch (EPO-10).
fn with_times(base: Vec<History>, own: Vec<History>, epoch: Option<&str>) -> Vec<History> {
    let base_count = base.len();
    let mut history = base;
    history.extend(own);
    // As in BuildKit: entries before the first one with a time that follows on one without have that time.
    let first_without = history.iter().position(|entry| entry.created.is_none());
    let behind = history.iter().skip(first_without.unwrap_or(history.len()));
    let mut time = behind.filter_map(|entry| entry.created.clone()).next();
    time = time.or_else(|| history.iter().rev().find_map(|entry| entry.created.clone()));
    for (at, entry) in history.iter_mut().enumerate() {
        match &entry.created {
            Some(own) if first_without.is_some_and(|first| at > first) => time = Some(own.clone()),
            Some(_) => {}
            None => entry.created.clone_from(&time),
        }
        if at < base_count {
            continue;
        }
        if let Some(epoch) = epoch
            && entry.created.as_deref().is_none_or(|created| created > epoch)
        {
            entry.created = Some(epoch.to_owned());
        }
    }
    history
}

/// Seconds since 1970 in the form that configs have.
pub(crate) fn epoch_text(epoch: i64) -> Option<String> {
    Some(jiff::Timestamp::from_second(epoch).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::VertexId;

    fn entry(text: &str, vertex: Option<u32>) -> PlannedHistory {
        PlannedHistory { created_by: text.to_owned(), vertex: vertex.map(VertexId) }
    }

    fn check(
        planned: &[PlannedHistory],
        times: &[&str],
        epoch: Option<i64>,
        want: &[Option<&str>],
    ) {
        let times: Vec<String> = times.iter().map(|t| (*t).to_owned()).collect();
        let epoch = epoch.and_then(epoch_text);
        let history = with_times(Vec::new(), own_history(planned, &times), epoch.as_deref());
        let got: Vec<_> = history.iter().map(|h| h.created.as_deref()).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn entries_without_layers_borrow_times() {
        let planned = [
            entry("ENV a=b", None),
            entry("RUN x", Some(1)),
            entry("CMD", None),
            entry("RUN y", Some(2)),
        ];
        let [one, two] = ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"];
        check(&planned, &[one, two], None, &[Some(one), Some(one), Some(one), Some(two)]); // INS-04
        check(&planned[..1], &[], None, &[None]);
        check(&planned[..1], &[], Some(0), &[Some("1970-01-01T00:00:00Z")]);
        let clamped = "2024-01-01T12:00:00Z";
        let epoch = Some(1_704_110_400);
        let want = [Some(one), Some(one), Some(one), Some(clamped)];
        check(&planned, &[one, two], epoch, &want); // EPO-10
        // A layer first: what follows on it has the time of the next.
        check(&planned[1..], &[one, two], None, &[Some(one), Some(two), Some(two)]);
    }

    #[test]
    fn entries_without_layers_on_a_base_have_its_time() {
        let base =
            History { created: Some("2020-01-01T00:00:00Z".to_owned()), ..History::default() };
        let own = own_history(&[entry("ENV a=b", None)], &[]);
        let history = with_times(vec![base.clone()], own, None);
        assert_eq!(history[1].created, base.created); // INS-04
    }

    #[test]
    fn a_base_with_too_little_history_is_filled() {
        let mut config =
            ImageConfig { history: vec![History::default(); 2], ..ImageConfig::default() };
        let history = base_history(&mut config.clone(), 3);
        assert_eq!(history.len(), 3); // IMG-30
        let history = base_history(&mut config, 1);
        assert_eq!(history.iter().map(|h| h.empty_layer).collect::<Vec<_>>(), [false, true]);
    }
}
