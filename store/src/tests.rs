//! Tests of whole stores.

mod basics;
mod cache_mounts;
mod collecting;
mod durability;
mod explain;
mod faults;
mod fixture;
mod partial;
mod sharing;
