//! Tests of reading a server's files: what is refused, and with which words; what is exchanged, and
//! when.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256};
use tempfile::TempDir;

use super::*;
use crate::clock::{ManualClock, SystemClock};

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../../tests/support/certificates.rs"]
mod certificates;

use certificates::{HOUR, Issued, TestAuthority, Wanted};

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tests/support/keys/", $name))
    };
}

/// A folder with a server's files.
struct Place {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn with(issued: &Issued) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(SystemClock.now())),
        };
        place.put(issued);
        place
    }

    fn put(&self, issued: &Issued) {
        self.write("server.pem", &issued.chain);
        self.write("server.key", &issued.key);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn files(&self) -> ServerFiles {
        ServerFiles {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            clients: None,
            oldest: Oldest::Tls12,
        }
    }

    fn load(&self) -> Result<ServerTls, String> {
        self.load_from(self.files())
    }

    fn load_from(&self, files: ServerFiles) -> Result<ServerTls, String> {
        ServerTls::load(files, self.clock.clone()).map_err(|error| error.to_string())
    }

    fn files_for_clients(&self, authority: &TestAuthority) -> ServerFiles {
        self.write("clients.pem", &authority.pem());
        let clients = ClientCertificates {
            authorities: self.path("clients.pem"),
            revoked: Some(self.path("revoked.pem")),
            required: true,
        };
        ServerFiles {
            clients: Some(clients),
            ..self.files()
        }
    }
}

fn why_not(place: &Place) -> String {
    place.load().err().expect("a refusal")
}

fn names(why: &str, path: &Path) -> bool {
    why.contains(&*path.to_string_lossy())
}

#[test]
fn keys_of_every_kind_and_form_are_read() {
    let authority = TestAuthority::new("an authority");
    let ed25519 = authority.issue(Wanted::server().signing_with(&PKCS_ED25519));
    assert!(Place::with(&ed25519).load().is_ok());
    let rsa = KeyPair::from_pkcs8_pem_and_sign_algo(key!("rsa.pkcs8.pem"), &PKCS_RSA_SHA256);
    let p256 = KeyPair::from_pem(key!("p256.pkcs8.pem"));
    for (pair, forms) in [
        (rsa.unwrap(), [key!("rsa.pkcs8.pem"), key!("rsa.pkcs1.pem")]),
        (
            p256.unwrap(),
            [key!("p256.pkcs8.pem"), key!("p256.sec1.pem")],
        ),
    ] {
        let place = Place::with(&authority.issue(Wanted::server().with_key(pair)));
        for form in forms {
            place.write("server.key", form);
            let loaded = place.load().map(drop);
            assert_eq!(loaded, Ok(()), "{}", form.lines().next().unwrap());
        }
        // Whatever stands before the key is passed over, as where the file is of both.
        let both = fs::read_to_string(place.path("server.pem")).unwrap() + forms[1];
        place.write("server.key", &both);
        assert!(place.load().is_ok());
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_by_both_names() {
    let authority = TestAuthority::new("an authority");
    let place = Place::with(&authority.server());
    place.write("server.key", &authority.server().key);
    let why = why_not(&place);
    assert!(names(&why, &place.path("server.pem")), "{why}");
    assert!(names(&why, &place.path("server.key")), "{why}");
    assert!(why.contains("does not go with the private key"), "{why}");
}

#[test]
fn what_cannot_be_read_is_told_by_its_file_and_no_key_is_repeated() {
    let authority = TestAuthority::new("an authority");
    let issued = authority.server();
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    for (file, text, told) in [
        ("server.pem", String::new(), "no certificate"),
        ("server.pem", issued.key.clone(), "no certificate"),
        ("server.pem", cut(&issued.chain), "no certificate"),
        (
            "server.pem",
            issued.chain.replace('M', "!"),
            "no certificate",
        ),
        ("server.key", String::new(), "no private key"),
        ("server.key", cut(&issued.key), "no private key"),
        ("server.key", issued.chain.clone(), "no private key"),
        (
            "server.key",
            key!("p256.encrypted.pem").to_owned(),
            "passphrase",
        ),
        (
            "server.key",
            "x".repeat((1 << 20) + 1),
            "1048577 bytes; at most 1048576",
        ),
    ] {
        let place = Place::with(&issued);
        place.write(file, &text);
        let why = why_not(&place);
        assert!(
            names(&why, &place.path(file)) && why.contains(told),
            "{why}"
        );
        let line = issued.key.lines().nth(1).unwrap();
        assert!(!why.contains(&line[..16]), "{why}");
    }
    let place = Place::with(&issued);
    fs::remove_file(place.path("server.key")).unwrap();
    let why = why_not(&place);
    assert!(
        names(&why, &place.path("server.key")) && why.contains("No such file"),
        "{why}"
    );
}

#[test]
fn a_certificate_that_does_not_hold_now_is_refused_with_both_instants() {
    let authority = TestAuthority::new("an authority");
    for (from, until, told) in [
        (-2 * HOUR, -HOUR, "the certificate ended at 20"),
        (HOUR, 2 * HOUR, "the certificate holds only from 20"),
    ] {
        let place = Place::with(&authority.issue(Wanted::server().holding(from, until)));
        let why = why_not(&place);
        assert!(names(&why, &place.path("server.pem")), "{why}");
        assert!(why.contains(told) && why.contains("; it is 20"), "{why}");
    }
}

#[test]
fn what_was_exchanged_is_used_and_what_is_wrong_is_not() {
    let authority = TestAuthority::new("an authority");
    let (first, second) = (authority.server(), authority.server());
    let place = Place::with(&first);
    let tls = place.load().unwrap();
    let shown = || tls.loaded.load().number;
    assert_eq!(tls.reload().unwrap(), Reloaded::Unchanged);
    // One file was exchanged, and the other not yet, in either order.
    place.write("server.pem", &second.chain);
    tls.reload().unwrap_err();
    place.write("server.pem", &first.chain);
    place.write("server.key", &second.key);
    tls.reload().unwrap_err();
    assert_eq!(shown(), 0, "the old one stays in use");
    place.write("server.pem", &second.chain);
    assert_eq!(tls.reload().unwrap(), Reloaded::Exchanged);
    assert_eq!(shown(), 1);
    for (from, until) in [(-2 * HOUR, -HOUR), (HOUR, 2 * HOUR)] {
        place.put(&authority.issue(Wanted::server().holding(from, until)));
        tls.reload().unwrap_err();
        assert_eq!(shown(), 1);
    }
    // What is in use may end without anybody having exchanged it: that is no failed reading.
    place.put(&second);
    place.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(tls.reload().unwrap(), Reloaded::Unchanged);
}

#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let root = TestAuthority::new("a root");
    let between = root.below("between");
    let place = Place::with(&root.server());
    let tls = place.load().unwrap();
    let whole = between.server();
    // All that stands in the file is sound, and yet its end is missing.
    let (own, above) = whole
        .chain
        .split_at(whole.chain.rfind("-----BEGIN").unwrap());
    place.write("server.pem", own);
    place.write("server.key", &whole.key);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| tls.reload());
        std::thread::sleep(SETTLED_AFTER / 2);
        place.write("server.pem", &format!("{own}{above}"));
        assert_eq!(reading.join().unwrap().unwrap(), Reloaded::Exchanged);
    });
    assert_eq!(
        tls.reload().unwrap(),
        Reloaded::Unchanged,
        "all of it is in use"
    );
}

#[test]
fn a_symbolic_link_is_followed_anew_each_time() {
    let authority = TestAuthority::new("an authority");
    let (first, second) = (authority.server(), authority.server());
    let folder = tempfile::tempdir().unwrap();
    // As Kubernetes does it: a link to a folder, which is exchanged by renaming another over it.
    for (name, issued) in [("..first", &first), ("..second", &second)] {
        let version = folder.path().join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("tls.crt"), &issued.chain).unwrap();
        fs::write(version.join("tls.key"), &issued.key).unwrap();
    }
    let link = |to: &str| {
        let (fresh, data) = (folder.path().join("..new"), folder.path().join("..data"));
        std::os::unix::fs::symlink(to, &fresh).unwrap();
        fs::rename(&fresh, &data).unwrap();
    };
    link("..first");
    for name in ["tls.crt", "tls.key"] {
        let target = Path::new("..data").join(name);
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }
    let place = Place::with(&first);
    let files = ServerFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
        ..place.files()
    };
    let tls = place.load_from(files).unwrap();
    link("..second");
    assert_eq!(tls.reload().unwrap(), Reloaded::Exchanged);
}

#[test]
fn a_certificate_that_moves_between_two_files_is_a_change() {
    let root = TestAuthority::new("a root");
    let between = root.below("between");
    let issued = between.server();
    let place = Place::with(&issued);
    place.write("revoked.pem", &root.revoking(&[], HOUR));
    let tls = place.load_from(place.files_for_clients(&root)).unwrap();
    let (own, above) = issued
        .chain
        .split_at(issued.chain.rfind("-----BEGIN").unwrap());
    place.write("server.pem", own);
    place.write("clients.pem", &format!("{above}{}", root.pem()));
    assert_eq!(tls.reload().unwrap(), Reloaded::Exchanged);
}

#[test]
fn a_list_that_cannot_be_used_is_refused_and_one_that_ended_is_told() {
    let authority = TestAuthority::new("an authority");
    let place = Place::with(&authority.server());
    let files = place.files_for_clients(&authority);
    for (list, told) in [
        (authority.pem(), "holds no revocation list"),
        (key!("revoked.v1.pem").to_owned(), "a list of version 1"),
        (
            "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned(),
            "cannot be used as a revocation list",
        ),
    ] {
        place.write("revoked.pem", &list);
        let why = place.load_from(files.clone()).err().unwrap();
        assert!(names(&why, &place.path("revoked.pem")), "{why}");
        assert!(why.contains(told), "{why}");
    }
    let lists = authority.revoking(&[], HOUR) + &authority.revoking(&[], -HOUR);
    place.write("revoked.pem", &lists);
    let tls = place.load_from(files).unwrap();
    assert!(
        tls.lists_end().unwrap() < place.clock.now(),
        "the first that ends"
    );
}
