//! Unicode's general categories and scripts by RE2's names, as far as they reach into Latin-1: Envoy's RE2 treats
//! each byte as the character of that number.
//!
//! RE2 has no other properties, and spells these in one way only. Used by `re2::class`.

use std::ops::RangeInclusive;

use super::bytes::Bytes;

/// The members of `\p{name}` below 256.
pub(super) fn group(name: &str) -> Option<Bytes> {
    let ranges: &[RangeInclusive<u8>] = match name {
        "Any" => &[0..=0xFF],
        "L" => {
            &[b'A'..=b'Z', b'a'..=b'z', 0xAA..=0xAA, 0xB5..=0xB5, 0xBA..=0xBA, 0xC0..=0xD6, 0xD8..=0xF6, 0xF8..=0xFF]
        }
        "Lu" => &[b'A'..=b'Z', 0xC0..=0xD6, 0xD8..=0xDE],
        "Ll" => &[b'a'..=b'z', 0xB5..=0xB5, 0xDF..=0xF6, 0xF8..=0xFF],
        "Lo" => &[0xAA..=0xAA, 0xBA..=0xBA],
        "N" => &[b'0'..=b'9', 0xB2..=0xB3, 0xB9..=0xB9, 0xBC..=0xBE],
        "Nd" => &[b'0'..=b'9'],
        "No" => &[0xB2..=0xB3, 0xB9..=0xB9, 0xBC..=0xBE],
        "P" => return all_of(&["Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps"]),
        "Pc" => &[b'_'..=b'_'],
        "Pd" => &[b'-'..=b'-'],
        "Pe" => &[b')'..=b')', b']'..=b']', b'}'..=b'}'],
        "Pf" => &[0xBB..=0xBB],
        "Pi" => &[0xAB..=0xAB],
        "Po" => return Some(other_punctuation()),
        "Ps" => &[b'('..=b'(', b'['..=b'[', b'{'..=b'{'],
        "S" => return all_of(&["Sc", "Sk", "Sm", "So"]),
        "Sc" => &[b'$'..=b'$', 0xA2..=0xA5],
        "Sk" => &[b'^'..=b'^', b'`'..=b'`', 0xA8..=0xA8, 0xAF..=0xAF, 0xB4..=0xB4, 0xB8..=0xB8],
        "Sm" => {
            &[b'+'..=b'+', b'<'..=b'>', b'|'..=b'|', b'~'..=b'~', 0xAC..=0xAC, 0xB1..=0xB1, 0xD7..=0xD7, 0xF7..=0xF7]
        }
        "So" => &[0xA6..=0xA6, 0xA9..=0xA9, 0xAE..=0xAE, 0xB0..=0xB0],
        "Z" | "Zs" => &[b' '..=b' ', 0xA0..=0xA0],
        "C" => &[0..=0x1F, 0x7F..=0x9F, 0xAD..=0xAD],
        "Cc" => &[0..=0x1F, 0x7F..=0x9F],
        "Cf" => &[0xAD..=0xAD],
        "Latin" => &[b'A'..=b'Z', b'a'..=b'z', 0xAA..=0xAA, 0xBA..=0xBA, 0xC0..=0xD6, 0xD8..=0xF6, 0xF8..=0xFF],
        "Common" => return Some(group("Latin")?.negated()),
        "Co" | "Cs" | "Lm" | "Lt" | "M" | "Mc" | "Me" | "Mn" | "Nl" | "Zl" | "Zp" => &[],
        _ if OTHER_SCRIPTS.contains(&name) => &[],
        _ => return None,
    };
    Some(Bytes::of(ranges))
}

fn all_of(names: &[&str]) -> Option<Bytes> {
    let mut bytes = Bytes::none();
    for name in names {
        bytes.add_all(&group(name)?);
    }
    Some(bytes)
}

fn other_punctuation() -> Bytes {
    let mut bytes = Bytes::none();
    b"!\"#%&'*,./:;?@\\\xA1\xA7\xB6\xB7\xBF".iter().for_each(|byte| bytes.add(*byte));
    bytes
}

/// The scripts without a character below 256.
#[rustfmt::skip] // a paragraph of names
const OTHER_SCRIPTS: &[&str] = &[
    "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum", "Bassa_Vah",
    "Batak", "Bengali", "Bhaiksuki", "Bopomofo", "Brahmi", "Braille", "Buginese", "Buhid", "Canadian_Aboriginal",
    "Carian", "Caucasian_Albanian", "Chakma", "Cham", "Cherokee", "Chorasmian", "Coptic", "Cuneiform", "Cypriot",
    "Cypro_Minoan", "Cyrillic", "Deseret", "Devanagari", "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs",
    "Elbasan", "Elymaic", "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati",
    "Gunjala_Gondi", "Gurmukhi", "Han", "Hangul", "Hanifi_Rohingya", "Hanunoo", "Hatran", "Hebrew", "Hiragana",
    "Imperial_Aramaic", "Inherited", "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese", "Kaithi",
    "Kannada", "Katakana", "Kawi", "Kayah_Li", "Kharoshthi", "Khitan_Small_Script", "Khmer", "Khojki", "Khudawadi",
    "Lao", "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian", "Lydian", "Mahajani", "Makasar",
    "Malayalam", "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi", "Medefaidrin", "Meetei_Mayek",
    "Mende_Kikakui", "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro", "Multani",
    "Myanmar", "Nabataean", "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nushu",
    "Nyiakeng_Puachue_Hmong", "Ogham", "Ol_Chiki", "Old_Hungarian", "Old_Italic", "Old_North_Arabian", "Old_Permic",
    "Old_Persian", "Old_Sogdian", "Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Oriya", "Osage", "Osmanya",
    "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician", "Psalter_Pahlavi", "Rejang", "Runic",
    "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham", "SignWriting", "Sinhala", "Sogdian", "Sora_Sompeng",
    "Soyombo", "Sundanese", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham", "Tai_Viet",
    "Takri", "Tamil", "Tangsa", "Tangut", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta", "Toto",
    "Ugaritic", "Vai", "Vithkuqi", "Wancho", "Warang_Citi", "Yezidi", "Zanabazar_Square",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine's own tables, which are of a later Unicode: below 256 they are the same.
    #[test]
    fn agree_with_the_tables_of_the_engine() {
        let named = "Any L Lu Ll Lt Lm Lo N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs Cc Cf M Mc Me Mn \
                     Latin Common";
        for name in named.split_whitespace().chain(OTHER_SCRIPTS.iter().copied()) {
            let engine = regex::Regex::new(&format!(r"^\p{{{name}}}$")).expect(name);
            let bytes = group(name).expect(name);
            for byte in 0..=u8::MAX {
                assert_eq!(
                    bytes.contains(byte),
                    engine.is_match(char::from(byte).encode_utf8(&mut [0; 4])),
                    "{name}, {byte:#x}"
                );
            }
        }
    }

    #[test]
    fn no_other_names() {
        for name in ["", "^", "l", "Letter", "latin", "Alphabetic", "ASCII", "Cn", "LC", "Latin-1", "Script=Latin"] {
            assert_eq!(group(name), None, "{name}");
        }
    }
}
