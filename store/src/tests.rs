//! Tests of whole stores.

mod basics;
mod collecting;
mod cache_mounts;
mod durability;
mod explain;
mod faults;
mod fixture;
mod sharing;
