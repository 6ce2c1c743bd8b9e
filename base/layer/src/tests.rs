//! Tests of what several modules do together.

mod applying;
mod diffing;
mod reading;
mod streams;
mod unpacking;
mod writing;
