//! A cache inside the config of the image that it is of (`--cache-to type=inline`, CIO-06): records of the steps whose
//! layers the image has.

use std::collections::HashMap;
use std::sync::Arc;

use graph::{Graph, Target};
use oci::{Descriptor, DiffId, ImageConfig};
use remotecache::{CacheDocument, CacheLayer, ExportPlace};

use super::entries;
use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::session::Session;
use crate::stop::Stop;
use crate::value::{LayerName, OwnLayer, StackValue, Value};

/// Whether images get a cache of themselves.
pub(crate) fn is_wanted(session: &Session) -> bool {
    session.request.cache_to.iter().any(|to| matches!(to.place, ExportPlace::Inline))
}

/// Takes out of a config the cache that its base image had, and puts in that of the target if it is wanted. `made` are
/// digests and times of the layers above the base; `values` are those of all vertices.
pub(crate) fn set(
    config: &mut ImageConfig,
    session: &Arc<Session>,
    (graph, target, values): (&Arc<Graph>, &Target, &[Value]),
    stack: &StackValue,
    made: &[(DiffId, String)],
) -> Result<(), Stop> {
    for member in remotecache::inline::MEMBERS {
        config.extra.remove(member);
    }
    if !is_wanted(session) {
        return Ok(());
    }
    let document = document(session, (graph, target, values), stack, made)?;
    let members = remotecache::inline::members(&document, &config.rootfs.diff_ids);
    let members = members.map_err(|error| {
        let what = "cannot put a cache into the image's config";
        BuildError::new(BuildErrorKind::Registry, what).because(error)
    })?;
    config.extra.extend(members);
    Ok(())
}

fn document(
    session: &Arc<Session>,
    (graph, target, values): (&Arc<Graph>, &Target, &[Value]),
    stack: &StackValue,
    made: &[(DiffId, String)],
) -> Result<CacheDocument, Stop> {
    let mut document = CacheDocument::default();
    let mut places: HashMap<LayerName, u32> = HashMap::new();
    for (layer, (diff_id, created)) in stack.own_layers().1.iter().zip(made) {
        let content_id = match layer {
            OwnLayer::Here(layers) => finish::content_id(session, layers)?,
            OwnLayer::Imported(layer) => layer.content_id,
        };
        places.insert(layer.name(), document.layers.len() as u32);
        document.layers.push(CacheLayer {
            diff_id: *diff_id,
            content_id,
            // The image's manifest has the real one.
            descriptor: Descriptor::new("", diff_id.0, 0),
            created: created.clone(),
        });
    }
    let below = |id: &graph::VertexId| graph.vertex(*id).below;
    let chain = std::iter::successors(Some(target.top), below);
    let wanted: Vec<_> = chain.filter(|id| graph.vertex(*id).op.makes_layer()).collect();
    let values = Arc::new(values.iter().cloned().map(Some).collect());
    for result in entries::results(session, graph, &values, &wanted)? {
        document.records.extend(entries::entry(&result, &places)?);
    }
    Ok(document)
}
