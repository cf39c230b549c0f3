//! Each setting on each kind of text. That nothing hidden reaches a record by any way is tested beside `audit::record`.

use super::*;
use crate::policy::privacy::forms::{is_opaque, never};

fn key() -> Key {
    Key::new("2026-11", b"a key of a test, long enough for it").unwrap()
}

fn with(account: Account, object: Object, reported_ip: ReportedIp) -> Privacy {
    Privacy::new(Modes { account, object, reported_ip }, Some(key())).unwrap()
}

fn made(kind: Kind, text: &str) -> Option<Cow<'static, str>> {
    Some(Cow::Owned(key().pseudonym(kind, text.as_bytes())))
}

#[test]
fn plain_is_the_text_within_its_limit() {
    let plain = Privacy::new(Modes::PLAIN, Some(key())).unwrap();
    let long = "x".repeat(3000);
    assert_eq!(plain.account("alice").as_deref(), Some("alice"));
    assert_eq!(plain.account(&long), Some(limited(&long, MAX_NAME)));
    assert_eq!(plain.object(&long), Some(limited(&long, MAX_KEY)));
    assert_eq!(plain.group("\u{7}").as_deref(), Some("\u{7}"));
    assert_eq!(plain.reported_ip("[::1]").as_deref(), Some("[::1]"));
    assert_eq!(plain.text("agent", 256, never).as_deref(), Some("agent"));
    assert_eq!(plain.digest(Kind::Input, "abc"), sha256_hex("abc"));
    assert_eq!(plain.key_id(), None, "nothing is keyed");
}

#[test]
fn a_pseudonym_is_of_the_whole_text() {
    let hidden = with(Account::Hmac, Object::Hmac, ReportedIp::Hmac);
    let long = "x".repeat(3000);
    for name in ["alice", "a", "cn=bob,dc=example", &long] {
        assert_eq!(hidden.account(name), made(Kind::Account, name));
        assert_eq!(hidden.group(name), made(Kind::Account, name), "a group is found like an account");
        assert_eq!(hidden.object(name), made(Kind::Object, name));
        assert_eq!(hidden.reported_ip(name), made(Kind::ReportedIp, name));
        assert_eq!(hidden.text(name, 256, never), made(Kind::Text, name));
    }
    assert_eq!(hidden.digest(Kind::Input, "abc"), key().digest(Kind::Input, b"abc"));
    assert_eq!(hidden.account("").as_deref(), Some(""), "nobody has no pseudonym");
    assert_eq!(hidden.key_id(), Some("2026-11"));
}

#[test]
fn what_is_dropped_is_gone() {
    let hidden = with(Account::Drop, Object::Drop, ReportedIp::Drop);
    assert_eq!((hidden.account("alice"), hidden.account(""), hidden.group("g")), (None, None, None));
    assert_eq!((hidden.object("a/b"), hidden.reported_ip("203.0.113.9")), (None, None));
}

#[test]
fn a_prefix_is_directories_and_the_pseudonym_of_the_whole_key() {
    let hidden = with(Account::Plain, Object::Prefix, ReportedIp::Plain);
    let whole = made(Kind::Object, "2026/11/a.jpg").unwrap();
    assert_eq!(hidden.object("2026/11/a.jpg"), Some(format!("2026/11/{whole}").into()));
    assert_eq!(hidden.object("a.jpg"), made(Kind::Object, "a.jpg"));
    let long = "x".repeat(3000);
    assert_eq!(hidden.object(&long), made(Kind::Object, &long), "no part of a name, and no unkeyed hash");
}

#[test]
fn an_address_that_is_none_is_not_left_as_it_is() {
    let hidden = with(Account::Plain, Object::Plain, ReportedIp::Truncate);
    assert_eq!(hidden.reported_ip("203.0.113.9").as_deref(), Some("203.0.113.0/24"));
    assert_eq!(hidden.reported_ip("alice"), made(Kind::ReportedIp, "alice"));
    let modes = Modes { reported_ip: ReportedIp::Truncate, ..Modes::PLAIN };
    assert_eq!(Privacy::new(modes, None).unwrap().reported_ip("alice"), None);
}

/// One setting that is not plain is enough: what a client chooses can hold what it hides.
#[test]
fn free_text_stays_only_where_nothing_is_hidden() {
    for modes in [
        Modes { account: Account::Hmac, ..Modes::PLAIN },
        Modes { object: Object::Drop, ..Modes::PLAIN },
        Modes { reported_ip: ReportedIp::Truncate, ..Modes::PLAIN },
    ] {
        let hidden = Privacy::new(modes, Some(key())).unwrap();
        assert_eq!(hidden.text("agent", 256, never), made(Kind::Text, "agent"));
        let id = "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f";
        assert_eq!(hidden.text(id, 128, is_opaque).as_deref(), Some(id));
        assert_ne!(hidden.digest(Kind::Input, "abc"), sha256_hex("abc"));
    }
}

#[test]
fn pseudonyms_without_a_key_are_refused() {
    let needs = |modes| Privacy::new(modes, None).map(|_| ()).map_err(|error| error.to_string());
    let said = |setting| Err(format!("`audit.privacy.{setting}` needs `audit.privacy.keys`"));
    assert_eq!(needs(Modes { account: Account::Hmac, ..Modes::PLAIN }), said("account"));
    assert_eq!(needs(Modes { object: Object::Hmac, ..Modes::PLAIN }), said("object"));
    assert_eq!(needs(Modes { object: Object::Prefix, ..Modes::PLAIN }), said("object"));
    assert_eq!(needs(Modes { reported_ip: ReportedIp::Hmac, ..Modes::PLAIN }), said("reported_ip"));
    assert_eq!(needs(Modes::PLAIN), Ok(()));
}

/// Without a key of ours the digests are of one that nobody has, and no pseudonym is made with it.
#[test]
fn without_a_key_hashes_cannot_be_guessed_and_texts_are_left_out() {
    let modes = Modes { account: Account::Drop, object: Object::Drop, reported_ip: ReportedIp::Truncate };
    let (one, other) = (Privacy::new(modes, None).unwrap(), Privacy::new(modes, None).unwrap());
    assert_eq!(one.digest(Kind::Input, "abc"), one.digest(Kind::Input, "abc"));
    assert_ne!(one.digest(Kind::Input, "abc"), other.digest(Kind::Input, "abc"));
    assert_ne!(one.digest(Kind::Input, "abc"), sha256_hex("abc"));
    assert_eq!((one.text("agent", 256, never), one.key_id()), (None, None));
}
