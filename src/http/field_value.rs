//! The legal bytes of a header field's value when it is written.
//!
//! Values of a parsed head have been checked. Values from elsewhere (templates of rules, a client's text in a `location`) may
//! have any bytes, and must not begin another line. Called by the sinks and by [`super::header_ops`].

/// Appends a value from outside a parsed head, without the bytes that no value may hold (RFC 9110 §5.5).
#[inline]
pub fn put(out: &mut Vec<u8>, value: &[u8]) {
    if is_legal(value) {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().filter(|byte| is_legal_byte(**byte)));
    }
}

/// Whether a value is legal.
#[inline]
#[must_use]
pub fn is_legal(value: &[u8]) -> bool {
    // Without an early exit the compiler looks at many bytes at once.
    value.iter().fold(true, |legal, byte| legal & is_legal_byte(*byte))
}

#[inline]
fn is_legal_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The elements of a comma-separated list value (RFC 9110 §5.6.1), trimmed, empty ones left out.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}
