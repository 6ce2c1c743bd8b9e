//! Any reference is read or refused; its full form and its short form are read back as the same one.

#![no_main]

use fuzz::timed;
use libfuzzer_sys::fuzz_target;
use oci::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = timed(text, || text.parse::<Reference>()) else { return };
    for form in [reference.to_string(), reference.familiar()] {
        let again: Reference = form.parse().expect("a printed reference is one");
        assert_eq!(again.to_string(), reference.to_string(), "{form}");
    }
    assert!(reference.tag().is_some() || reference.digest().is_some());
    assert!(!reference.registry().is_empty() && !reference.repository().is_empty());
});
