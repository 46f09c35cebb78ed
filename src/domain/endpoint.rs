//! Endpoint patterns, and whether a judged call matches one; what could be read two ways is refused.

use std::borrow::Cow;
use std::fmt;

use super::flaw::{Flaw, quoted};

/// Longest path that is judged, in bytes, without its query.
pub const PATH_BYTES_MAX: usize = 8192;

/// A pattern of calls that a token may make: a path, optionally after a method and a space.
///
/// `*` matches within one segment; at the very end it matches anything, further slashes included.
/// A last segment `**` matches the path before it and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    method: Option<String>,
    segments: Vec<Glob>,
    tail: Tail,
}

/// The pattern as it was given.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a pattern ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// With its last segment.
    Exact,
    /// With `*`: the last segment is a beginning, after which anything may follow.
    Anything,
    /// With `/**`: at the border of the last segment, or below it.
    Below,
}

impl Pattern {
    /// Most patterns of one token.
    pub const COUNT_MAX: usize = 64;
    const BYTES_MAX: usize = 256;
    const STARS_MAX: usize = 8;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            let flaw = format!(
                "has {} bytes; 1 to {} are allowed",
                text.len(),
                Self::BYTES_MAX
            );
            return Err(Flaw::new(flaw));
        }
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(parse_method(method)?), path),
            None => (None, text),
        };
        if path == "*" {
            let segments = vec![Glob::literal("")];
            return Ok(Self {
                text: text.to_owned(),
                method,
                segments,
                tail: Tail::Anything,
            });
        }
        let refuse = |why: &str| Err(Flaw::new(format!("{why}; got {}", quoted(text))));
        let Some(rest) = path.strip_prefix('/') else {
            return refuse(
                "must be a path that begins with '/', after an optional method and a space",
            );
        };
        if path.matches('*').count() > Self::STARS_MAX {
            return refuse("has more than 8 '*'");
        }
        if path
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "?#%\\".contains(c))
        {
            return refuse("may not contain spaces, '?', '#', '%' or '\\'; write it decoded");
        }
        let (above, tail) = match (rest.strip_suffix("/**"), rest.strip_suffix('*')) {
            _ if rest == "**" => (None, Tail::Below),
            (Some(above), _) => (Some(above), Tail::Below),
            (None, Some(beginning)) => (Some(beginning), Tail::Anything),
            (None, None) => (Some(rest), Tail::Exact),
        };
        let parts: Vec<&str> = above
            .map(|above| above.split('/').collect())
            .unwrap_or_default();
        if parts.iter().any(|part| part.contains("**"))
            || (tail == Tail::Anything && rest.ends_with("**"))
        {
            return refuse("'**' may stand only as the last segment");
        }
        let last = parts.len().saturating_sub(1);
        let empty =
            |(at, part): (usize, &&str)| part.is_empty() && (at != last || tail == Tail::Below);
        if parts.iter().enumerate().any(empty) {
            return refuse("has an empty segment, which no judged path can match");
        }
        if parts.iter().any(|part| is_dot_segment(part)) {
            return refuse("has a '.' or '..' segment, which no judged path can match");
        }
        let segments = parts.into_iter().map(Glob::parse).collect();
        Ok(Self {
            text: text.to_owned(),
            method,
            segments,
            tail,
        })
    }

    /// The path of the pattern, without its method.
    pub fn path(&self) -> &str {
        let method = self.method.as_ref().map_or(0, |method| method.len() + 1);
        &self.text[method..]
    }

    /// Length of the pattern as it was given.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn matches(&self, method: Option<&str>, path: &JudgedPath<'_>) -> bool {
        if self.method.is_some() && self.method.as_deref() != method {
            return false;
        }
        let segments = &path.segments;
        match self.tail {
            Tail::Exact => {
                segments.len() == self.segments.len()
                    && self
                        .segments
                        .iter()
                        .zip(segments)
                        .all(|(glob, segment)| glob.matches(segment))
            }
            Tail::Below => {
                segments.len() >= self.segments.len()
                    && self
                        .segments
                        .iter()
                        .zip(segments)
                        .all(|(glob, segment)| glob.matches(segment))
            }
            Tail::Anything => {
                let Some((beginning, whole)) = self.segments.split_last() else {
                    return true;
                };
                segments.len() > whole.len()
                    && whole
                        .iter()
                        .zip(segments)
                        .all(|(glob, segment)| glob.matches(segment))
                    && beginning.begins(&segments[whole.len()])
            }
        }
    }
}

/// One segment of a pattern: literal pieces with a `*` between each two.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob {
    first: String,
    rest: Vec<String>,
}

impl Glob {
    fn parse(segment: &str) -> Self {
        let mut pieces = segment.split('*').map(str::to_owned);
        Self {
            first: pieces.next().unwrap_or_default(),
            rest: pieces.collect(),
        }
    }

    fn literal(text: &str) -> Self {
        Self {
            first: text.to_owned(),
            rest: Vec::new(),
        }
    }

    /// Whether the whole segment matches. Each piece is searched once, leftmost, from where the
    /// one before ended, so the work is linear in the segment.
    fn matches(&self, segment: &str) -> bool {
        let Some(mut rest) = segment.strip_prefix(self.first.as_str()) else {
            return false;
        };
        let Some((last, middle)) = self.rest.split_last() else {
            return rest.is_empty();
        };
        for piece in middle {
            let Some(at) = rest.find(piece.as_str()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last.as_str())
    }

    /// Whether some beginning of the segment matches.
    fn begins(&self, segment: &str) -> bool {
        let Some(mut rest) = segment.strip_prefix(self.first.as_str()) else {
            return false;
        };
        for piece in &self.rest {
            let Some(at) = rest.find(piece.as_str()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        true
    }
}

/// The endpoints of a token; none means that every endpoint is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(Vec<Pattern>);

impl Endpoints {
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a call of `method` on `path` is allowed.
    ///
    /// Where there are patterns, a path that is absent or could be read in two ways is refused,
    /// and a pattern that names a method does not match a call without one.
    pub fn allow(&self, method: Option<&str>, path: Option<&str>) -> bool {
        self.0.is_empty() || self.matching(method, path).is_some()
    }

    /// The first pattern that matches a call of `method` on `path`.
    pub fn matching(&self, method: Option<&str>, path: Option<&str>) -> Option<&Pattern> {
        if self.0.is_empty() {
            return None;
        }
        let path = path.and_then(JudgedPath::read)?;
        let mut patterns = self.0.iter();
        patterns.find(|pattern| pattern.matches(method, &path))
    }
}

/// Parses an HTTP method: 1 to 32 of `A-Z`, `a-z`, `-`; compared case-sensitively (RFC 9110).
pub fn parse_method(text: &str) -> Result<String, Flaw> {
    let known = |byte: u8| byte.is_ascii_alphabetic() || byte == b'-';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(known) {
        return Err(Flaw::new(format!(
            "a method must be 1 to 32 letters or '-'; got {}",
            quoted(text)
        )));
    }
    Ok(text.to_owned())
}

/// A path that reads one way only: percent-decoded, split at its slashes.
struct JudgedPath<'a> {
    segments: Vec<Cow<'a, str>>,
}

impl<'a> JudgedPath<'a> {
    /// Reads a path as it came on the wire; `None` for whatever proxies and servers are known to
    /// read differently: dot segments, empty segments, encoded slashes, dots and percent signs,
    /// backslashes, control characters, fragments, undecodable bytes.
    fn read(raw: &'a str) -> Option<Self> {
        let path = raw.split('?').next().unwrap_or_default();
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let mut parts = path.strip_prefix('/')?.split('/').peekable();
        let mut segments = Vec::new();
        while let Some(part) = parts.next() {
            let segment = decode_segment(part)?;
            // One empty segment at the end is a trailing slash; elsewhere it is a doubled one.
            let doubled = segment.is_empty() && parts.peek().is_some();
            if doubled || is_dot_segment(&segment) {
                return None;
            }
            segments.push(segment);
        }
        Some(Self { segments })
    }
}

/// Whether a segment is `.` or `..`, also with path parameters (`..;x`), which some servers drop.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

fn decode_segment(part: &str) -> Option<Cow<'_, str>> {
    let plain = |plain: bool, byte: u8| {
        plain & byte.is_ascii_graphic() & !matches!(byte, b'%' | b'\\' | b'#')
    };
    if part.bytes().fold(true, plain) {
        return Some(Cow::Borrowed(part));
    }
    let mut decoded = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            let plain = u8::try_from(high * 16 + low).ok()?;
            if matches!(plain, b'/' | b'.' | b'%') {
                return None;
            }
            plain
        } else {
            byte
        };
        if plain == b'\\' || byte == b'#' {
            return None;
        }
        decoded.push(plain);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests;
