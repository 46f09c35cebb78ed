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
pub struct Pattern(Box<str>);

/// The pattern as it was given.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
        let path = match text.split_once(' ') {
            Some((method, path)) => {
                parse_method(method)?;
                path
            }
            None => text,
        };
        if path == "*" {
            return Ok(Self(text.into()));
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
        let (above, tail) = ending(rest);
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
        Ok(Self(text.into()))
    }

    /// Length of the pattern as it was given.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether it matches calls of one method only.
    pub fn names_method(&self) -> bool {
        parts(&self.0).0.is_some()
    }

    /// Whether its path matches, whatever method it names.
    pub(super) fn covers(&self, path: &JudgedPath<'_>) -> bool {
        matches(parts(&self.0).1, path)
    }
}

/// The method that a pattern names, if it names one, and its path.
fn parts(pattern: &str) -> (Option<&str>, &str) {
    match pattern.split_once(' ') {
        Some((method, path)) => (Some(method), path),
        None => (None, pattern),
    }
}

/// What comes after a pattern's first slash: its segments, if there are any, and how it ends.
fn ending(rest: &str) -> (Option<&str>, Tail) {
    match (rest.strip_suffix("/**"), rest.strip_suffix('*')) {
        _ if rest == "**" => (None, Tail::Below),
        (Some(above), _) => (Some(above), Tail::Below),
        (None, Some(beginning)) => (Some(beginning), Tail::Anything),
        (None, None) => (Some(rest), Tail::Exact),
    }
}

/// The path of the first of some patterns, as they were given, that matches a call of `method` on
/// `path`.
pub(super) fn matching<'a>(
    patterns: impl Iterator<Item = &'a str>,
    method: Option<&str>,
    path: Option<&str>,
) -> Option<&'a str> {
    let mut patterns = patterns.peekable();
    patterns.peek()?;
    let judged = JudgedPath::read(path?)?;
    let mut own = patterns
        .map(parts)
        .filter(|(named, path)| (named.is_none() || *named == method) && matches(path, &judged));
    own.next().map(|(_, path)| path)
}

/// Whether the path of a pattern matches.
fn matches(pattern: &str, path: &JudgedPath<'_>) -> bool {
    let Some(rest) = pattern.strip_prefix('/') else {
        // A lone `*`.
        return true;
    };
    let (above, tail) = ending(rest);
    let mut segments = path.segments();
    let Some(above) = above else {
        return true;
    };
    let mut globs = above.split('/');
    let Some(mut glob) = globs.next() else {
        return true;
    };
    loop {
        let Some(segment) = segments.next() else {
            return false;
        };
        match globs.next() {
            Some(next) if glob_matches(glob, segment) => glob = next,
            Some(_) => return false,
            None => {
                return match tail {
                    Tail::Exact => glob_matches(glob, segment) && segments.next().is_none(),
                    Tail::Below => glob_matches(glob, segment),
                    Tail::Anything => glob_begins(glob, segment).is_some(),
                };
            }
        }
    }
}

/// Whether a segment of a pattern, literal pieces with a `*` between each two, matches a whole segment.
fn glob_matches(glob: &str, segment: &str) -> bool {
    match glob.rsplit_once('*') {
        None => glob == segment,
        Some((beginning, last)) => {
            glob_begins(beginning, segment).is_some_and(|rest| rest.ends_with(last))
        }
    }
}

/// What follows in a segment after its shortest beginning that matches. Each piece is searched once,
/// leftmost, from where the one before ended, so the work is linear in the segment.
fn glob_begins<'a>(glob: &str, segment: &'a str) -> Option<&'a str> {
    let mut pieces = glob.split('*');
    let mut rest = segment.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        rest = &rest[rest.find(piece)? + piece.len()..];
    }
    Some(rest)
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
        self.0.is_empty() || matching(self.texts(), method, path).is_some()
    }

    /// The patterns as they were given.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|Pattern(text)| &**text)
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

/// A path that reads one way only: percent-decoded, without its first slash.
pub(super) struct JudgedPath<'a>(Cow<'a, str>);

impl<'a> JudgedPath<'a> {
    /// Reads a path as it came on the wire; `None` for whatever proxies and servers are known to
    /// read differently: dot segments, empty segments, encoded slashes, dots and percent signs,
    /// backslashes, control characters, fragments, undecodable bytes.
    pub(super) fn read(raw: &'a str) -> Option<Self> {
        let path = raw.split('?').next().unwrap_or_default();
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let own = Self(decoded(path.strip_prefix('/')?)?);
        own.is_plain().then_some(own)
    }

    fn is_plain(&self) -> bool {
        let mut parts = self.segments().peekable();
        while let Some(segment) = parts.next() {
            // One empty segment at the end is a trailing slash; elsewhere it is a doubled one.
            let doubled = segment.is_empty() && parts.peek().is_some();
            if doubled || is_dot_segment(segment) {
                return false;
            }
        }
        true
    }

    /// No slash was encoded: so it may be cut where there are any.
    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// Whether a segment is `.` or `..`, also with path parameters (`..;x`), which some servers drop.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

fn decoded(part: &str) -> Option<Cow<'_, str>> {
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
