//! Tests of whole stores.

mod basics;
mod durability;
mod faults;
mod fixture;
mod sharing;
