//! What a proxied request demands of its token, by host, path and method; what tricks is refused.

use super::caller::Namespaces;
use super::endpoint::{JudgedPath, Pattern, parse_method};
use super::flaw::{Flaw, quoted};
use super::name::Owner;
use super::scope::RequiredScope;

#[cfg(test)]
mod tests;

/// What is demanded of the token of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Where the token must live.
    pub namespace: Namespaces,
    pub required_scopes: Vec<RequiredScope>,
    pub owner: Option<Owner>,
    /// What the request costs of the token's limits, at most [`super::limit::COST_MAX`].
    pub cost: u64,
}

/// A token of the caller's own namespace, in force; costs 1.
impl Default for Demand {
    fn default() -> Self {
        Self {
            namespace: Namespaces::Own,
            required_scopes: Vec::new(),
            owner: None,
            cost: 1,
        }
    }
}

/// The hosts of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case.
    Exact(String),
    /// All names below this one, which begins with a dot and is in lower case.
    Below(String),
}

impl Host {
    /// Reads a name or an address without a port, or `*.` and a name for all below that.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let read = bare_host(name).filter(|host| *host == name.to_ascii_lowercase());
        match read {
            Some(_) if name.starts_with('[') && name.len() < text.len() => Err(wrong_host(text)),
            Some(host) if name.len() < text.len() => Ok(Self::Below(format!(".{host}"))),
            Some(host) => Ok(Self::Exact(host)),
            None => Err(wrong_host(text)),
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Below(own) => host.len() > own.len() && host.ends_with(own.as_str()),
        }
    }
}

fn wrong_host(text: &str) -> Flaw {
    let why = "must be a host such as shop.example.org or *.example.org, without a port; got";
    Flaw::new(format!("{why} {}", quoted(text)))
}

/// Which requests demand what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None` for all.
    pub host: Option<Host>,
    /// The same; one that names no method.
    pub path: Option<Pattern>,
    /// The same.
    pub method: Option<String>,
    pub demand: Demand,
}

/// Routes in their order: the first that matches counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    pub const COUNT_MAX: usize = 1024;

    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a request of `method` for `path`, which may have a query, on `host`, which may have a
    /// port, demands; `None` where no route matches it.
    ///
    /// An error is a refusal, never a reason to go on without a route: what could be read in two
    /// ways must not slip past the route that is meant for it. So where any route names a path, one
    /// with dot segments, empty segments, encoded slashes or undecodable bytes is refused; where any
    /// names a host, a missing or malformed one; and where any names a method, what is none, and one
    /// that differs from it in case alone.
    pub fn demand(&self, host: &str, method: &str, path: &str) -> Result<Option<&Demand>, Flaw> {
        let named = |has: fn(&Route) -> bool| self.0.iter().any(has);
        let path = match named(|route| route.path.is_some()) {
            true => Some(plain(path)?),
            false => None,
        };
        let host = match named(|route| route.host.is_some()) {
            true => Some(sound(host)?),
            false => None,
        };
        if named(|route| route.method.is_some()) {
            self.look_at_method(method)?;
        }
        let matching = self.0.iter().find(|route| {
            let met = |own: &Host| host.as_ref().is_some_and(|host| own.covers(host));
            let below = |own: &Pattern| path.as_ref().is_some_and(|path| own.covers(path));
            route.host.as_ref().is_none_or(met)
                && route.path.as_ref().is_none_or(below)
                && route.method.as_ref().is_none_or(|own| own == method)
        });
        Ok(matching.map(|route| &route.demand))
    }

    fn look_at_method(&self, method: &str) -> Result<(), Flaw> {
        parse_method(method)?;
        let mut named = self.0.iter().filter_map(|route| route.method.as_ref());
        match named.find(|own| *own != method && own.eq_ignore_ascii_case(method)) {
            None => Ok(()),
            Some(own) => Err(Flaw::new(format!(
                "the method must be written {own}; got {}",
                quoted(method)
            ))),
        }
    }
}

fn plain(path: &str) -> Result<JudgedPath<'_>, Flaw> {
    let why = "the path must read one way only: without dot segments, empty segments, encoded slashes \
               and undecodable bytes; got";
    // Without the query, where secrets have been seen.
    let shown = path.split('?').next().unwrap_or_default();
    JudgedPath::read(path).ok_or_else(|| Flaw::new(format!("{why} {}", quoted(shown))))
}

fn sound(host: &str) -> Result<String, Flaw> {
    bare_host(host).ok_or_else(|| {
        let why = "the host must be a name or an address, perhaps with a port; got";
        Flaw::new(format!("{why} {}", quoted(host)))
    })
}

/// A host in lower case, without its port and the dot that may end a name (RFC 9110, section 7.2).
fn bare_host(text: &str) -> Option<String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (
                &text[..address.len() + 2],
                after.strip_prefix(':').or(after.is_empty().then_some(""))?,
            )
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            let name = name.strip_suffix('.').unwrap_or(name);
            let known = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            let label = |label: &str| !label.is_empty() && label.bytes().all(known);
            (name.len() <= 253 && name.split('.').all(label)).then_some(())?;
            (name, port)
        }
    };
    let sound = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| name.to_ascii_lowercase())
}
