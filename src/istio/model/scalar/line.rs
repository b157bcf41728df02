//! Texts that are sent unchanged, each within one line of a head: paths, hosts, headers, cookies.

use crate::istio::reader::{Item, Object};

/// The advice for a text with an unintended line end.
pub(in crate::istio) const BLOCKS: &str =
    "write a block of YAML with \"|-\" or \">-\", which leave out its last line end";

/// Why a text cannot be sent within a line, and what to write. Envoy refuses line ends; the other control characters are
/// not allowed in a head, either (RFC 9110, section 5.5).
pub(in crate::istio) fn check(text: &str) -> Result<(), (&'static str, &'static str)> {
    let bad = |text: &str| text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
    match text.trim_end_matches(['\r', '\n']) {
        _ if !bad(text) => Ok(()),
        line if !bad(line) => Err(("ends with a line end", BLOCKS)),
        _ => Err(("has a control character", "remove it")),
    }
}

/// The text of an item; reports one that cannot be sent within a line, which is then empty.
pub(in crate::istio) fn read<'a>(item: &Item<'a>) -> Option<&'a str> {
    let text = item.string()?;
    match check(text) {
        Ok(()) => Some(text),
        Err((what, instead)) => {
            item.error(what, instead);
            None
        }
    }
}

/// The text of a field; empty when it is absent, or cannot be sent within a line, which is then reported.
pub(in crate::istio) fn field(object: &Object<'_>, name: &str) -> String {
    object.get(name).and_then(|item| read(&item)).unwrap_or_default().to_owned()
}

/// As [`read`], for a text that must not be empty, either.
pub(in crate::istio) fn nonempty<'a>(item: &Item<'a>) -> Option<&'a str> {
    item.nonempty_string().and_then(|_| read(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_one_line() {
        let told = |text: &str| check(text).err().map(|(what, _)| what);
        for (text, expected) in [
            ("", None),
            ("/a b\tc", None),
            ("/\u{e9}", None),
            ("/a\n", Some("ends with a line end")),
            ("/a\r\n\n", Some("ends with a line end")),
            ("\n", Some("ends with a line end")),
            ("/a\nb", Some("has a control character")),
            ("/a\r\nb: c\n", Some("has a control character")),
            ("\0", Some("has a control character")),
            ("\u{7f}", Some("has a control character")),
        ] {
            assert_eq!(told(text), expected, "{text:?}");
        }
    }
}
