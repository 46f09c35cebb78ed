//! What `doctor` says of files: who else may touch them, and what is wrong with a database.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use token_authority::clock::{Clock, SystemClock};

use crate::harness::ROOT_TOKEN;

use super::patient::{Patient, chmod};

#[test]
fn files_that_others_may_read_are_told() {
    let secret = "canary-0123456789-0123456789-0123456789";
    let patient = Patient::new();
    patient.served_once();
    let database = patient.path("a.db");
    patient.asks(&[]).nothing();
    chmod(&database, 0o644);
    let said = patient.asks(&[]);
    said.only("warn", "store file", "others may read it");
    chmod(&database, 0o620);
    patient
        .asks(&[])
        .only("warn", "store file", "others may change it");
    chmod(&database, 0o600);
    chmod(patient.folder.path(), 0o777);
    patient
        .asks(&[])
        .only("warn", "store folder", "others may exchange files");
    chmod(patient.folder.path(), 0o700);

    let token = patient.write("token", secret, 0o644);
    let pepper = patient.write("pepper", secret, 0o604);
    let file = format!(
        "[access]\nroot_tokens = [{{ name = \"ops\", token_file = {token:?} }}]\n\
         [secrets]\npeppers = [{{ id = 1, pepper_file = {pepper:?} }}]\n"
    );
    let config = patient.write("config.toml", &file, 0o644);
    let config = config.to_str().unwrap().to_owned();
    let patient = patient.rootless().with(&["--config", &config]);
    let said = patient.asks(&[]);
    said.tells(
        "warn",
        "access.root_tokens[0].token_file",
        "others may read it",
    );
    said.tells(
        "warn",
        "secrets.peppers[0].pepper_file",
        "others may read it",
    );
    assert_eq!(said.of_level("warn").len(), 2);
    chmod(&token, 0o440);
    chmod(&pepper, 0o400);
    patient.asks(&[]).nothing();
    let inline = format!("[access]\nroot_tokens = [{{ name = \"ops\", token = \"{secret}\" }}]\n");
    patient.write("config.toml", &inline, 0o604);
    let said = patient.asks(&[]);
    said.only("warn", "configuration file", "others may read it");
    chmod(Path::new(&config), 0o600);
    patient.asks(&[]).nothing();
}

#[test]
fn the_audit_file_must_take_lines() {
    let patient = Patient::new();
    let path = patient.path("audit");
    let patient = patient.set(&format!("audit.to=file:{}", path.display()));
    patient.asks(&[]).nothing();
    assert!(!path.exists(), "it was made");
    fs::write(&path, "").unwrap();
    chmod(&path, 0o640);
    patient.asks(&[]).nothing();
    chmod(&path, 0o644);
    patient
        .asks(&[])
        .only("warn", "audit.to", "others may read it");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    patient.asks(&[]).only("FAIL", "audit.to", "is a folder");
    let lost = Patient::new().set("audit.to=file:/no/such/folder/audit");
    lost.asks(&[]).tells("FAIL", "audit.to", "No such file");
}

#[test]
fn a_root_token_that_lies_about_is_told() {
    let patient = Patient::new().rootless();
    patient.asks(&[]).nothing();
    patient.served_once();
    let file = patient.path("home/token-authority/root-token");
    let generated = fs::read_to_string(&file).unwrap();
    let said = patient.asks(&[]);
    said.only("warn", "root token file", "holds a generated root token");
    said.tells("ok", "generated root token", "in force, and in its file");
    chmod(&file, 0o644);
    let said = patient.asks(&[]);
    said.only("FAIL", "root token file", "is open to others (mode 0644)");
    chmod(&file, 0o600);
    fs::remove_file(&file).unwrap();
    let said = patient.asks(&[]);
    said.only("warn", "generated root token", "its file does not hold it");

    fs::write(&file, &generated).unwrap();
    chmod(&file, 0o600);
    let patient = patient.knowing("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN);
    patient.served_once();
    let said = patient.asks(&[]);
    said.only("warn", "root token file", "is left over");
    said.tells("ok", "generated root token", "replaced");
    let patient = patient.rootless();
    let said = patient.asks(&[]);
    said.tells("FAIL", "generated root token", "no server starts");
    fs::remove_file(&file).unwrap();
    symlink("/nowhere", &file).unwrap();
    patient
        .asks(&[])
        .tells("FAIL", "root token file", "symbolic link");
    let same = patient.knowing("TOKEN_AUTHORITY_ROOT_TOKEN", generated.trim_end());
    fs::remove_file(&file).unwrap();
    fs::write(&file, &generated).unwrap();
    chmod(&file, 0o600);
    same.asks(&[]).nothing();
}

#[test]
fn a_database_that_is_damaged_foreign_or_newer_is_told() {
    let patient = Patient::new();
    patient.served_once();
    let database = patient.path("a.db");
    let sound = fs::read(&database).unwrap();
    let raw = |sql: &str| {
        Connection::open(&database)
            .unwrap()
            .execute_batch(sql)
            .unwrap()
    };
    let said = |words: &str, subject: &str| {
        let said = patient.asks(&[]);
        said.tells("FAIL", subject, words);
        assert_eq!(said.code, 1);
        fs::write(&database, &sound).unwrap();
    };
    let mut damaged = sound.clone();
    let page = 4096 * 3;
    damaged[page..page + 512].fill(0xa5);
    fs::write(&database, &damaged).unwrap();
    said("damaged", "integrity");
    fs::write(
        &database,
        "no database at all, but long enough to be looked at, canary".repeat(20),
    )
    .unwrap();
    said("is not an SQLite database", "store");
    raw("PRAGMA application_id = 7");
    said("not of a token authority", "store");
    raw("UPDATE meta SET min_reader = 99");
    said("needs a newer release", "store");
    raw("UPDATE meta SET store_id = 'short'");
    said("identity marker", "store");
    let hour = SystemClock.now().saturating_add(Duration::from_secs(3600));
    raw(&format!("UPDATE meta SET mark = {}", hour.micros()));
    said("behind the store's last decision", "clock");
    let soon = SystemClock.now().saturating_add(Duration::from_secs(25));
    raw(&format!("UPDATE meta SET mark = {}", soon.micros()));
    patient
        .asks(&[])
        .only("warn", "clock", "behind the store's last decision");
    fs::write(&database, &sound).unwrap();
    patient.asks(&[]).nothing();
    fs::write(&database, "").unwrap();
    patient.asks(&[]).nothing();
    let demanding = patient.set("store.require_existing=true");
    demanding.asks(&[]).only("FAIL", "store", "is empty");
}
