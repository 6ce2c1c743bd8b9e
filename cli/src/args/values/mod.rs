//! Forms of flag values: each a pure function from the text to what it means.

mod annotation;
mod attest;
mod cache;
mod csv;
mod output;
mod policy;
mod rules;
mod secret;
mod small;

pub(crate) use annotation::{add_annotation, add_annotation_attribute};
pub(crate) use attest::attestations;
pub(crate) use cache::{parse_cache_from, parse_cache_to};
pub(crate) use csv::fields as csv_fields;
pub(crate) use output::parse_output;
pub(crate) use policy::read_policy;
pub(crate) use rules::{duration_ms, max_ages, pull_policy, steps};
pub(crate) use secret::{parse_secret, parse_ssh};
pub(crate) use small::{
    add_host, entitlement, go_bool, image_name, limit, network, pair, platforms, size_bytes,
    tag_name, ulimit,
};
