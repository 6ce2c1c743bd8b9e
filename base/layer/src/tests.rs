//! Tests of what several modules do together.

mod applying;
mod diffing;
mod directories;
mod estargz;
mod reading;
mod streams;
mod unpacking;
mod writing;
