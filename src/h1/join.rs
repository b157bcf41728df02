//! Lines of one name in a head that was written, made one: some headers are a list in Envoy's hands, and what rules add to
//! them stands behind what was there.
//!
//! In place, because it is done to heads that are about to be sent. Called by [`super::encode`], for requests of rules that
//! add such a line.

use super::change::Changes;
use super::forward::LISTS;

/// Joins the lines of the names that `changes` adds a line of. The head begins at `start`; its request line counts as any
/// other.
pub(super) fn added(out: &mut Vec<u8>, start: usize, changes: &Changes) {
    for (id, name) in LISTS {
        if changes.has_line(id, name) {
            join(out, start, name);
        }
    }
}

fn join(out: &mut Vec<u8>, start: usize, name: &[u8]) {
    // The value of the first line.
    let mut first: Option<(usize, usize)> = None;
    let mut at = start;
    while let Some(length) = out.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let end = at + length + 1;
        let Some((from, to)) = value_of(&out[at..end], name) else {
            at = end;
            continue;
        };
        let Some((value, behind)) = first else {
            first = Some((at + from, at + to));
            at = end;
            continue;
        };
        // The line comes forward to the end of the first one, and of it only the value is left.
        let (line, length) = (end - at, to - from);
        out[behind..end].rotate_right(line);
        let comma = usize::from(behind > value && length > 0);
        out.copy_within(behind + from..behind + to, behind + comma);
        if comma > 0 {
            out[behind] = b',';
        }
        let kept = behind + comma + length;
        out.drain(kept..behind + line);
        first = Some((value, kept));
        at += comma + length;
    }
}

/// Where in a line the value is, if it is of this name. There is a colon before it, so it never begins the line.
fn value_of(line: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let own = line.get(..name.len())?;
    if !own.eq_ignore_ascii_case(name) || line.get(name.len()) != Some(&b':') {
        return None;
    }
    let value = line.get(name.len() + 1..)?.trim_ascii_end();
    let to = name.len() + 1 + value.len();
    Some((to - value.trim_ascii_start().len(), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_gets_what_the_others_say() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\n", "GET / HTTP/1.1\r\na: 1\r\nb: 2\r\n"),
            ("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nA:3 \r\nc: 4\r\n", "GET / HTTP/1.1\r\na: 1,3\r\nb: 2\r\nc: 4\r\n"),
            ("a: 1\r\na: 22\r\na: 333, 4\r\nb: 5\r\n", "a: 1,22,333, 4\r\nb: 5\r\n"),
            ("a: \r\nb: 2\r\na: 3\r\na: \r\nab: 4\r\na: 5\r\n", "a:3,5 \r\nb: 2\r\nab: 4\r\n"),
            ("a:1\r\na:2\r\n", "a:1,2\r\n"),
        ] {
            let mut out = format!("before: x\r\na: y\r\n{head}").into_bytes();
            join(&mut out, 17, b"a");
            assert_eq!(String::from_utf8(out).expect("text"), format!("before: x\r\na: y\r\n{expected}"));
        }
    }
}
