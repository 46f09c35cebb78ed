//! The headers of calls, in the form of HPACK (RFC 7541): each spelled out once on a connection, and one
//! byte from then on, as clients do it.

/// Places in HPACK's static table, of a name or of a name with its value.
const AUTHORITY: u8 = 1;
const POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTP: u8 = 6;
const AUTHORIZATION: u8 = 23;
const CONTENT_TYPE: u8 = 31;
const USER_AGENT: u8 = 58;
/// How many entries that table has; what a connection adds follows it, the newest first.
const STATIC: usize = 61;

/// A field that is known before by its whole.
const INDEXED: u8 = 0x80;
/// A field that is spelled out and kept.
const KEPT: u8 = 0x40;

/// What the headers of a caller's calls are, and which of them the server knows by now.
pub(crate) struct Headers {
    /// The same for all calls: the place of the name, 0 where it has none; name; value.
    common: Vec<(u8, &'static str, String)>,
    /// What the server keeps, oldest first.
    kept: Vec<Kept>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Common(usize),
    Path(&'static str),
}

impl Headers {
    pub(crate) fn of_caller(authority: &str, authorization: &str) -> Self {
        let common = [
            (AUTHORITY, "", authority),
            (0, "te", "trailers"),
            (CONTENT_TYPE, "", "application/grpc"),
            (USER_AGENT, "", "token-authority-load"),
            (AUTHORIZATION, "", authorization),
        ];
        let common = common.map(|(place, name, value)| (place, name, value.to_owned()));
        Self {
            common: common.into(),
            kept: Vec::new(),
        }
    }

    /// Writes those of a call to a method.
    pub(crate) fn write(&mut self, path: &'static str, into: &mut Vec<u8>) {
        into.extend([INDEXED | POST, INDEXED | SCHEME_HTTP]);
        self.write_one(Kept::Path(path), into);
        for place in 0..self.common.len() {
            self.write_one(Kept::Common(place), into);
        }
    }

    fn write_one(&mut self, field: Kept, into: &mut Vec<u8>) {
        if let Some(place) = self.kept.iter().position(|kept| *kept == field) {
            let index = STATIC + self.kept.len() - place;
            into.push(INDEXED | u8::try_from(index).expect("few headers"));
            return;
        }
        let (place, name, value) = match field {
            Kept::Path(path) => (PATH, "", path),
            Kept::Common(at) => {
                let (place, name, value) = &self.common[at];
                (*place, *name, value.as_str())
            }
        };
        into.push(KEPT | place);
        if place == 0 {
            write_text(name, into);
        }
        write_text(value, into);
        self.kept.push(field);
    }
}

/// A text of less than 127 + 128 bytes, as it is.
fn write_text(text: &str, into: &mut Vec<u8>) {
    match u8::try_from(text.len()).expect("a short header") {
        short @ 0..127 => into.push(short),
        long => into.extend([127, long - 127]),
    }
    into.extend_from_slice(text.as_bytes());
}
