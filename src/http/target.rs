//! The request target: its four forms (RFC 9112 §3.2), the form of an authority, and the normal form of a path.

use super::head::{Known, Method, RequestHead, Span, Version};
use crate::http::error::ProtocolError;

/// A request target taken apart; ranges into the buffer of the head. Path, `?` and query lie together in it, so
/// `path.start..query.end` (or `path` alone) is sent upstream without a rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// The path without the query; `*` for `OPTIONS *`, empty for CONNECT.
    pub path: Span,
    /// The query without its `?`; may be empty.
    pub query: Span,
    /// Whether there is a `?`.
    pub has_query: bool,
    /// The authority of an absolute-form or authority-form target: it replaces `Host` (RFC 9112 §3.2.2).
    pub authority: Option<Span>,
    /// The scheme of an absolute-form target.
    pub scheme: Option<Span>,
    /// The host for routing: `authority` if there is one, else the value of `Host`, else empty.
    pub host: Span,
}

/// Takes the target of a request apart.
///
/// # Errors
/// A target in no form that the method allows, a byte that no URI holds, a scheme other than `http`, a fragment, or
/// HTTP/1.1 without any authority.
pub fn split(head: &RequestHead, buf: &[u8]) -> Result<Parts, ProtocolError> {
    let target = head.target.of(buf);
    // Without an early exit the compiler looks at many bytes at once.
    if !target.iter().fold(true, |legal, byte| legal & (0x21..0x7f).contains(byte)) {
        return Err(ProtocolError::Target);
    }
    let mut parts = Parts::default();
    if head.method == Method::Connect {
        // Authority-form, and a port is not optional in it (RFC 9112 §3.2.3).
        let has_port = target.rsplit(|byte| *byte == b':').next().is_some_and(|port| port.len() < target.len());
        if !has_port || !is_authority(target) {
            return Err(ProtocolError::Target);
        }
        parts.authority = Some(head.target);
    } else if target.first() == Some(&b'/') {
        split_path(head.target, buf, &mut parts)?;
    } else if target == b"*" && head.method == Method::Options {
        parts.path = head.target;
    } else {
        split_absolute(head.target, buf, &mut parts)?;
    }
    parts.host = match (parts.authority, head.find(Known::Host)) {
        (Some(authority), _) => authority,
        (None, Some(host)) => host.value,
        (None, None) if head.version == Version::Http10 => Span::default(),
        (None, None) => return Err(ProtocolError::HostMissing),
    };
    Ok(parts)
}

fn split_path(span: Span, buf: &[u8], parts: &mut Parts) -> Result<(), ProtocolError> {
    let bytes = span.of(buf);
    if memchr::memchr(b'#', bytes).is_some() {
        return Err(ProtocolError::Path);
    }
    parts.path = span;
    if let Some(mark) = memchr::memchr(b'?', bytes) {
        parts.has_query = true;
        parts.path.end = span.start + mark as u32;
        parts.query = Span { start: parts.path.end + 1, end: span.end };
    }
    Ok(())
}

/// `scheme://authority/path?query`.
fn split_absolute(span: Span, buf: &[u8], parts: &mut Parts) -> Result<(), ProtocolError> {
    let bytes = span.of(buf);
    let colon = memchr::memchr(b':', bytes).ok_or(ProtocolError::Target)?;
    let (scheme, rest) = bytes.split_at(colon);
    if !rest.starts_with(b"://") {
        return Err(ProtocolError::Target);
    }
    if scheme.eq_ignore_ascii_case(b"https") {
        return Err(ProtocolError::HttpsTarget);
    }
    if !scheme.eq_ignore_ascii_case(b"http") {
        return Err(ProtocolError::Scheme);
    }
    let after = &rest[3..];
    let length = after.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(after.len());
    if length == 0 || !is_authority(&after[..length]) {
        return Err(ProtocolError::Authority);
    }
    let start = span.start + colon as u32 + 3;
    let end = start + length as u32;
    parts.scheme = Some(Span { start: span.start, end: span.start + colon as u32 });
    parts.authority = Some(Span { start, end });
    match after.get(length) {
        Some(b'/') => split_path(Span { start: end, end: span.end }, buf, parts),
        // An empty path means `/` (RFC 9110 §4.2.3), and the buffer has one to point at: the second slash of `://`.
        None => {
            parts.path = Span { start: start - 1, end: start };
            Ok(())
        }
        // The same with a query is legal too, but not used in practice, Envoy refuses it, and there is no range for it.
        Some(b'?') => Err(ProtocolError::Target),
        Some(_) => Err(ProtocolError::Path),
    }
}

/// Whether these bytes are `host [":" port]` (RFC 3986 §3.2) without user information, which only attackers use (RFC
/// 9110 §4.2.4). Not empty.
#[must_use]
pub fn is_authority(bytes: &[u8]) -> bool {
    let port = if let Some(literal) = bytes.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', literal) else { return false };
        let (address, rest) = literal.split_at(end);
        let legal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if !address.contains(&b':') || !address.iter().all(legal) {
            return false;
        }
        &rest[1..]
    } else {
        let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        let (name, rest) = bytes.split_at(end);
        if name.is_empty() || !name.iter().all(|byte| is_host_byte(*byte)) {
            return false;
        }
        rest
    };
    match port.strip_prefix(b":") {
        None => port.is_empty(),
        // `host:` is legal: an empty port is the scheme's.
        Some(digits) => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
        }
    }
}

/// reg-name of RFC 3986 §3.2.2: unreserved, percent, sub-delims.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// How far paths are brought into one form before rules see them (`meshConfig.pathNormalization`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathForm {
    /// They stay as they were sent (`NONE`).
    AsSent,
    /// Dot segments are resolved, `\` is `/`, percent-encoded unreserved characters are decoded, and characters that a
    /// path cannot hold are encoded; `%2f`, `//` and `%zz` stay (`BASE`: Envoy's `normalize_path`).
    #[default]
    Base,
    /// Then several slashes in a row become one (`MERGE_SLASHES`). Also without other segments: Envoy leaves two of
    /// `///`.
    MergeSlashes,
    /// Encoded slashes and backslashes become slashes before all that (`DECODE_AND_MERGE_SLASHES`).
    DecodeAndMergeSlashes,
}

/// The result of [`normalize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normal {
    /// The path was in normal form already; `out` is untouched.
    AsIs,
    /// `out` holds the normal form.
    Rewritten,
}

/// The kind of a byte of a path for [`normalize`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Envoy percent-encodes it: `"<>^` and the like. (And `#`, which is refused.)
    Encode,
    /// It depends on the bytes around it: `%`, `\` and `.`.
    Look,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=b' ' | b'"' | b'#' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..=0xff => Class::Encode,
            b'%' | b'\\' | b'.' => Class::Look,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
}

/// The normal form of a path without query. A path in normal form stays as it is.
///
/// `out` is cleared and filled only if the path changes.
///
/// # Errors
/// [`ProtocolError::Path`] for `#` and for an encoded NUL; none with [`PathForm::AsSent`].
#[inline]
pub fn normalize(path: &[u8], form: PathForm, out: &mut Vec<u8>) -> Result<Normal, ProtocolError> {
    let normal = match form {
        PathForm::AsSent => true,
        PathForm::Base => is_normal(path),
        PathForm::MergeSlashes => is_normal(path) && !has_double_slash(path),
        PathForm::DecodeAndMergeSlashes => is_normal(path) && !has_double_slash(path) && !has_encoded_slash(path),
    };
    if normal {
        return Ok(Normal::AsIs);
    }
    rewrite(path, form, out)?;
    Ok(Normal::Rewritten)
}

fn has_double_slash(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"//")
}

fn has_encoded_slash(path: &[u8]) -> bool {
    path.iter().enumerate().any(|(at, byte)| *byte == b'%' && matches!(decoded(&path[at + 1..]), Some(b'/' | b'\\')))
}

fn is_normal(path: &[u8]) -> bool {
    path.iter().enumerate().all(|(at, byte)| match CLASSES[*byte as usize] {
        Class::Plain => true,
        Class::Encode => false,
        Class::Look => {
            let rest = &path[at + 1..];
            match byte {
                b'%' => decoded(rest)
                    .is_none_or(|code| code != 0 && (!is_unreserved(code) || completes_escape(&path[..at], code))),
                b'.' => !path[..at].ends_with(b"/") || !ends_dot_segment(rest),
                _ => false,
            }
        }
    })
}

/// Whether the segment that began with a dot is `.` or `..`, given what comes after that dot.
fn ends_dot_segment(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    matches!(rest.first(), None | Some(b'/' | b'\\'))
}

#[cold]
fn rewrite(path: &[u8], form: PathForm, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    out.clear();
    let mut segment = 0; // where in `out` the current segment begins
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'#' => return Err(ProtocolError::Path),
            b'/' | b'\\' => {
                if !resolve_dots(out, segment) {
                    out.push(b'/');
                }
                segment = out.len();
            }
            b'%' => match decoded(rest) {
                Some(0) => return Err(ProtocolError::Path),
                Some(b'/' | b'\\') if form == PathForm::DecodeAndMergeSlashes => {
                    if !resolve_dots(out, segment) {
                        out.push(b'/');
                    }
                    segment = out.len();
                    rest = &rest[2..];
                }
                Some(code) if is_unreserved(code) && !completes_escape(out, code) => {
                    out.push(code);
                    rest = &rest[2..];
                }
                _ => out.push(b'%'),
            },
            byte if CLASSES[byte as usize] == Class::Encode => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            byte => out.push(byte),
        }
    }
    resolve_dots(out, segment);
    if matches!(form, PathForm::MergeSlashes | PathForm::DecodeAndMergeSlashes) {
        out.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    }
    Ok(())
}

/// Takes a finished `.` or `..` away, and with `..` the segment before it; `out` then ends with the slash before that.
fn resolve_dots(out: &mut Vec<u8>, segment: usize) -> bool {
    let end = match &out[segment..] {
        b"." => segment,
        b".." => {
            let before = &out[..segment.saturating_sub(1)];
            memchr::memrchr(b'/', before).map_or(segment, |slash| slash + 1)
        }
        _ => return false,
    };
    out.truncate(end);
    true
}

/// Whether `code` behind `before` would make an escape that the client did not write: `%2%65` must not become `%2e`,
/// which the upstream would decode to a dot that no rule here has seen.
fn completes_escape(before: &[u8], code: u8) -> bool {
    code.is_ascii_hexdigit()
        && match before {
            [.., b'%'] => true,
            [.., b'%', digit] => digit.is_ascii_hexdigit(),
            _ => false,
        }
}

/// Appends a request target. A rewrite may have put bytes into it that would end it early, so those are percent-encoded.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, target: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_legal = |byte: &u8| (0x21..0x7f).contains(byte);
    if target.is_empty() {
        out.push(b'/');
    } else if target.iter().fold(true, |legal, byte| legal & is_legal(byte)) {
        out.extend_from_slice(target);
    } else {
        for byte in target {
            if is_legal(byte) {
                out.push(*byte);
            } else {
                out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

/// The byte of two hex digits at the start of `rest`.
fn decoded(rest: &[u8]) -> Option<u8> {
    let (high, low) = (hex(*rest.first()?)?, hex(*rest.get(1)?)?);
    Some(high << 4 | low)
}

/// The value of a hex digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
