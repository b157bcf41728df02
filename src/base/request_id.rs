//! Request ids: UUIDs of version 4 (RFC 9562 §5.4), as Envoy writes into `x-request-id`.

use super::rng::Rng;

/// The text of a fresh UUID, lower case.
pub fn generate(rng: &mut Rng) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = (u128::from(rng.bits()) << 64) | u128::from(rng.bits());
    // Version 4 in the 13th digit, variant 10 in the top bits of the 17th.
    let bits = (bits & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let mut text = [b'-'; 36];
    let mut digit = 32;
    for (at, byte) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            digit -= 1;
            *byte = HEX[(bits >> (4 * digit)) as usize & 0xf];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_form_of_a_version_4_uuid() {
        let mut rng = Rng::seeded(1);
        for _ in 0..1000 {
            let id = generate(&mut rng);
            let text = std::str::from_utf8(&id).unwrap();
            let lengths: Vec<usize> = text.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{text}");
            assert!(text.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{text}");
            assert_eq!(id[14], b'4', "{text}");
            assert!(matches!(id[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        }
    }

    #[test]
    fn differs_from_one_to_the_next() {
        let mut rng = Rng::seeded(1);
        assert_ne!(generate(&mut rng), generate(&mut rng));
    }
}
