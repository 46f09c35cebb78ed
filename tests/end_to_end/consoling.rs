//! An authority with a console, and somebody at a browser.

use token_authority::transport::grpc::pb::{CreateRequest, Token};

use crate::forwarding::{Reply, post, send};
use crate::harness::{Authority, Client, create, named, until};

/// Starts the authority once more, with the console on a port of its own; answers where that is.
pub(crate) async fn consoled(mut authority: Authority) -> (Authority, String) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--console", "127.0.0.1:0"]);
    authority.start();
    let address = until(|| console_of(&authority)).await;
    authority.serving(true).await;
    (authority, address)
}

/// Where the console is, once that is said.
pub(crate) fn console_of(authority: &Authority) -> Option<String> {
    let said = authority.stdout();
    let place = said
        .lines()
        .find_map(|line| line.strip_prefix("console on "));
    place.map(str::to_owned)
}

/// Somebody at a browser.
pub(crate) struct Visitor {
    address: String,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

pub(crate) fn origin(address: &str) -> String {
    format!("origin: http://{address}")
}

/// Posts a form as a page of the console does.
pub(crate) fn sent(address: &str, path: &str, lines: &[&str], form: &str) -> Reply {
    let host = format!("host: {address}");
    let origin = origin(address);
    post(
        address,
        path,
        &[&[host.as_str(), origin.as_str()], lines].concat(),
        form,
    )
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Visitor {
    pub(crate) fn sign_in(address: &str, secret: &str) -> Self {
        let form = format!("secret={}", encoded(secret));
        let reply = sent(address, "/sign-in", &[], &form);
        assert_eq!(reply.status, 303, "{reply:?}");
        assert_eq!(reply.header("location"), Some("/"));
        let cookie = reply.header("set-cookie").unwrap();
        let mut visitor = Self {
            address: address.to_owned(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
            csrf: String::new(),
        };
        visitor.csrf = field(&visitor.page("/me"), "csrf");
        visitor
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        let cookie = format!("cookie: {}", self.cookie);
        send(&self.address, "GET", path, &[&cookie], "")
    }

    /// The text of a page that must be there.
    pub(crate) fn page(&self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let fields = fields.iter().copied().chain([("csrf", self.csrf.as_str())]);
        let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
        let form = fields.collect::<Vec<_>>().join("&");
        let cookie = format!("cookie: {}", self.cookie);
        sent(&self.address, path, &[&cookie], &form)
    }
}

/// The value of a hidden field of a page.
pub(crate) fn field(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

pub(crate) fn secret_of(reply: &Reply) -> String {
    let (_, rest) = reply
        .body
        .split_once("<output id=\"issued\"><code>")
        .unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// A token with these scopes, and its secret.
pub(crate) async fn caller(root: &mut Client, scopes: &[&str]) -> (Token, String) {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let asked = CreateRequest {
        scopes,
        ..named("caller")
    };
    create(root, asked).await
}
