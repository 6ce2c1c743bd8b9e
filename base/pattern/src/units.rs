//! Names as sequences of units: Unicode characters, and single bytes where a name is not UTF-8 (IGN-19).

/// A character's number, or 0x110000 and the byte for a byte that is no part of one.
pub(crate) type Unit = u32;

const RAW_BYTE: u32 = 0x11_0000;

/// Splits a name into its units.
pub(crate) fn units(name: &[u8]) -> Vec<Unit> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        out.extend(chunk.valid().chars().map(u32::from));
        out.extend(chunk.invalid().iter().map(|b| RAW_BYTE + u32::from(*b)));
    }
    out
}

/// The unit of an ASCII character.
pub(crate) const fn ascii(byte: u8) -> Unit {
    byte as Unit
}
