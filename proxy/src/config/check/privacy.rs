//! Personal data in records: `[audit.privacy]`. A key that is missing, unreadable or short is a mistake; nothing is ever
//! recorded plain instead. Called by `audit`.

use secrecy::ExposeSecret as _;

use super::{name, no_duplicates, shown};
use crate::config::meant::{Account, Modes, Object, Privacy, PrivacyKey, ReportedIp};
use crate::config::secret::{self, Use};
use crate::config::written::Table;
use crate::policy::privacy::key::Key;

pub fn privacy(table: &Table<'_>) -> Option<Privacy> {
    let (account, object, reported_ip) = (table.word("account"), table.word("object"), table.word("reported_ip"));
    let written = table.tables("keys");
    let ids: Vec<_> = written.iter().filter_map(|one| name(one, "id")).collect();
    no_duplicates(table, "privacy key", &ids);
    let read: Vec<_> = written.iter().filter_map(|one| Some((one, key(one)?))).collect();
    no_twins(&read);
    // A setting that is wrong has been reported; what the others need is reported, too.
    let modes = Modes {
        account: account.unwrap_or(Account::Plain),
        object: object.unwrap_or(Object::Plain),
        reported_ip: reported_ip.unwrap_or(ReportedIp::Plain),
    };
    if written.is_empty() {
        for setting in modes.keyed() {
            table.error(setting, format!("`audit.privacy.{setting}` needs `audit.privacy.keys`"));
        }
    } else if modes.is_plain() {
        table.warn("keys", "`audit.privacy.keys` are not used: accounts, objects and addresses are recorded plain");
    }
    // Not what was assumed above.
    let modes = Modes { account: account?, object: object?, reported_ip: reported_ip? };
    Some(Privacy { modes, keys: read.into_iter().map(|(_, key)| key).collect() })
}

fn key(table: &Table<'_>) -> Option<PrivacyKey> {
    // What is wrong with the id has been said; it is not used then.
    let (id, value) = (table.get::<String>("id").unwrap_or_default(), secret::read(table, Use::Text)?);
    if let Err(error) = Key::new(&id, value.expose_secret().as_bytes()) {
        let from = if table.has("file") { "file" } else { "env" };
        table.error(from, format!("this is no privacy key: {error}"));
        return None;
    }
    Some(PrivacyKey { id, value })
}

/// Whoever destroys one of two equal keys believes to have erased something.
fn no_twins(keys: &[(&Table<'_>, PrivacyKey)]) {
    for (index, (table, key)) in keys.iter().enumerate() {
        let mut before = keys.iter().take(index).map(|(_, other)| other);
        if let Some(twin) = before.find(|other| other.value.expose_secret() == key.value.expose_secret()) {
            let message = format!("the privacy keys `{}` and `{}` are the same key", shown(&twin.id), shown(&key.id));
            table.page.error(&table.span, message);
        }
    }
}
