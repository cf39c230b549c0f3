//! Nothing that a setting hides is in a record, by whichever member it could have got there: for generated questions and
//! answers that repeat what is hidden in every place of theirs.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::attempt::MAX_MESSAGE;
use super::*;
use crate::policy::decided::CacheUse;
use crate::policy::decided::{Call, Outcome};
use crate::policy::privacy::key::Key;
use crate::policy::privacy::{Account, Modes, Object, ReportedIp};
use crate::wire::{answer, question};

/// Shortest part of a hidden text that counts as a leak (characters).
const FRAGMENT: usize = 4;

/// Of letters that no other text of a record is made of, whatever role it has: what of it is found there came from this text.
/// Some are longer than any limit.
fn hidden_text(letters: &str) -> impl Strategy<Value = String> + use<> {
    let of = |count: &str| proptest::string::string_regex(&format!("[{letters}]{{{count}}}")).unwrap();
    prop_oneof![4 => of("4,40"), 1 => of("900,1300")]
}

#[derive(Debug, Clone)]
struct Asked {
    account: String,
    person: String,
    groups: Vec<String>,
    directories: Vec<String>,
    file: String,
    address: String,
    agent: String,
    action: &'static str,
    claim: &'static str,
}

fn asked() -> impl Strategy<Value = Asked> {
    let groups = proptest::collection::vec(hidden_text("Vä\\\\"), 0..4);
    let names = (hidden_text("QX@="), hidden_text("JK\""), groups);
    let object = (proptest::collection::vec("dir[0-9]{1,3}", 0..7), hidden_text("Zö%+"));
    let addresses = [Just("203.0.113.9".to_owned()), Just("[2001:db8:1:2::9]".to_owned())];
    let [v4, v6] = addresses;
    let client = (prop_oneof![hidden_text("WY"), v4, v6], hidden_text("Üß<N"));
    const ACTIONS: [&str; 5] = ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "admin:SetPolicy", "kms:CreateKey"];
    let words =
        (proptest::sample::select(&ACTIONS[..]), proptest::sample::select(&["sub", "parent", "ldapUsername"][..]));
    (names, object, client, words).prop_map(|(names, (directories, file), (address, agent), (action, claim))| {
        let (account, person, groups) = names;
        Asked { account, person, groups, directories, file, address, agent, action, claim }
    })
}

fn modes() -> impl Strategy<Value = Modes> {
    let account = proptest::sample::select(&[Account::Plain, Account::Hmac, Account::Drop][..]);
    let object = proptest::sample::select(&[Object::Plain, Object::Prefix, Object::Hmac, Object::Drop][..]);
    const ALL: [ReportedIp; 4] = [ReportedIp::Plain, ReportedIp::Truncate, ReportedIp::Hmac, ReportedIp::Drop];
    (account, object, proptest::sample::select(&ALL[..])).prop_map(|(account, object, reported_ip)| Modes {
        account,
        object,
        reported_ip,
    })
}

impl Asked {
    /// The directory after the last one that may be read holds a name, too.
    fn key(&self) -> String {
        let deep = if self.directories.len() >= 4 { format!("{}/", self.file) } else { String::new() };
        let (shallow, rest) = self.directories.split_at(self.directories.len().min(4));
        let joined = |all: &[String]| all.iter().map(|name| format!("{name}/")).collect::<String>();
        format!("{}{deep}{}{}", joined(shallow), joined(rest), self.file)
    }

    /// Everything that can hold text holds what it can of it.
    fn body(&self, free: &str) -> String {
        json!({"input": {
            "account": self.account, "groups": self.groups, "action": self.action, "originalAction": "",
            "bucket": "reports", "object": self.key(), "owner": false, "denyOnly": false,
            "claims": {self.claim: self.person, "groups": self.groups, "sessionPolicy": free, "email": self.person},
            "conditions": {
                "SourceIp": [self.address], "UserAgent": [self.agent], "username": [self.account],
                "authType": [free], "Amz-Sdk-Invocation-Id": [free], "versionid": [free],
                "prefix": [self.key()], "accessKey": [self.account], "user": [self.person], "userDN": [self.person],
                "userOrGroup": [self.account], "group": self.groups, "isGroup": [free], "policyName": ["readonly"],
                "Authorization": [format!("AWS4-HMAC-SHA256 Credential={}/x, Signature=5f0e1d2c", self.account)],
            },
        }})
        .to_string()
    }

    /// What these settings promise to hide.
    fn hidden(&self, modes: Modes) -> Vec<String> {
        let mut all = vec![self.agent.clone()];
        if modes.account != Account::Plain {
            all.extend([self.account.clone(), self.person.clone()]);
            all.extend(self.groups.clone());
        }
        if modes.object != Object::Plain {
            all.push(self.file.clone());
        }
        if modes.reported_ip != ReportedIp::Plain {
            all.push(self.address.clone());
        }
        all
    }
}

/// An attempt in each dialect, whose answers repeat as much of `text` as an answer can.
fn echoed(text: &str) -> Decided {
    let ascii: String = text.chars().filter(char::is_ascii).take(128).collect();
    let body = json!({"result": true, "decision_id": ascii, "provenance": {"revision": ascii}}).to_string();
    let outcome = Outcome::Answered(answer::read(200, None, false, body.as_bytes()).unwrap());
    let body = json!({"decision": true, "decision_id": ascii, "context": {"reason": text}}).to_string();
    let authzen = Outcome::Answered(answer::read_authzen(200, None, false, body.as_bytes()).unwrap());
    let call = |authorizer: &str, outcome: &Outcome| Call {
        authorizer: authorizer.into(),
        outcome: outcome.clone(),
        status: Some(200),
        attempt: 1,
        started: Instant::now(),
        latency: Duration::ZERO,
        span_id: 1,
    };
    Decided {
        calls: vec![call("opa", &outcome), call("authzen", &authzen)],
        outcome,
        origin: Origin::Authorizer,
        route: Some("default".into()),
        decided_by: Some("opa".into()),
        fallback: false,
        cache: CacheUse::MISS,
    }
}

fn recorded(body: &str, decided: &Decided, privacy: &Privacy) -> Value {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    let request = question::read(body.clone()).unwrap();
    let facts = Facts {
        id: Uuid::nil(),
        time: SystemTime::UNIX_EPOCH,
        client: "minio",
        peer: None,
        request: Some(&request),
        body: &body,
        decided,
        latency: Duration::ZERO,
        durability: Durability::Synced,
        generation: "a91c03ff",
        privacy,
        trace_id: 1,
        span_id: 1,
    };
    let head = facts.draft(&Source::new("test")).unwrap().head;
    serde_json::from_slice(&[&head[..], b"}}"].concat()).unwrap()
}

/// Every string of a record, as it is and with its percent-encoding undone.
fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            into.push(percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned());
            into.push(text.clone());
        }
        Value::Array(all) => all.iter().for_each(|one| strings(one, into)),
        Value::Object(all) => all.values().for_each(|one| strings(one, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn fragments(text: &str) -> BTreeSet<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.windows(FRAGMENT).map(|window| window.iter().collect()).collect()
}

/// The first part of a hidden text, or the unkeyed hash of one, that is in the record.
fn leak(record: &Value, hidden: &[String]) -> Option<String> {
    let mut all = Vec::new();
    strings(record, &mut all);
    let there: BTreeSet<String> = all.iter().flat_map(|text| fragments(text)).collect();
    // Of an address the network may stay: it leaks as a whole.
    let is_address = |text: &str| crate::policy::signs::address(text).is_some();
    hidden.iter().find_map(|text| {
        let hash = sha256_hex(text);
        if is_address(text) {
            return all.iter().find(|one| one.contains(text.trim_matches(['[', ']']))).cloned();
        }
        let parts = fragments(text);
        parts.intersection(&there).next().cloned().or_else(|| all.iter().find(|one| one.contains(&hash)).cloned())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_hidden_is_nowhere(asked in asked(), modes in modes(), keyed in any::<bool>()) {
        let key = (keyed || modes.keyed().next().is_some()).then(|| Key::new("k", b"a key of a test, long enough for it").unwrap());
        let privacy = Privacy::new(modes, key).unwrap();
        let hidden = if modes.is_plain() { Vec::new() } else { asked.hidden(modes) };
        // Free text that is a copy of what is hidden; where nothing is, it stays and proves that the search would find it.
        let free = hidden.last().cloned().unwrap_or_else(|| asked.agent.clone());
        let record = recorded(&asked.body(&free), &echoed(&free), &privacy);
        prop_assert_eq!(leak(&record, &hidden), None, "{:#}", record);
        let data = &record["data"];
        if modes.is_plain() {
            let all = Modes { account: Account::Drop, object: Object::Drop, reported_ip: ReportedIp::Drop };
            let found = leak(&record, &asked.hidden(all));
            prop_assert!(found.is_some());
            prop_assert!(data["privacy_key_id"].is_null());
            prop_assert_eq!(&data["authorizers"][1]["message"], &json!(limited(&free, MAX_MESSAGE)));
        } else {
            let pseudonym = privacy.key_id().is_some().then(|| privacy.text(&free, MAX_MESSAGE, never)).flatten();
            prop_assert_eq!(&data["authorizers"][1]["message"], &json!(pseudonym));
        }
        if modes.account == Account::Hmac {
            let pseudonym = data["actor"]["account"].as_str().unwrap();
            prop_assert!(pseudonym.starts_with("hmac-sha256:") && pseudonym.len() == 76);
            prop_assert_eq!(data["actor"]["groups"].as_array().unwrap().len(), asked.groups.len());
        }
    }

    /// Each setting that is plain still records what it is for.
    #[test]
    fn what_is_plain_is_there(asked in asked()) {
        let modes = Modes { object: Object::Drop, ..Modes::PLAIN };
        let record = recorded(&asked.body(""), &echoed("x"), &Privacy::new(modes, None).unwrap());
        let data = &record["data"];
        prop_assert_eq!(&data["actor"]["account"], &json!(limited(&asked.account, 256)));
        prop_assert_eq!(&data["request"]["reported_ip"], &json!(limited(&asked.address, 128)));
        prop_assert!(data["resource"]["object"].is_null() && data["resource"]["prefix"].is_null());
    }
}

#[test]
fn the_subject_is_made_of_what_the_record_shows() {
    let body = json!({"input": {"account": "alice", "groups": null, "action": "s3:GetObject", "originalAction": "",
        "bucket": "photos", "object": "2026/a b.jpg", "conditions": {}, "owner": false, "claims": {}, "denyOnly": false}})
    .to_string();
    let key = || Key::new("2026-11", b"a key of a test, long enough for it").unwrap();
    let shown = |object| {
        let privacy = Privacy::new(Modes { object, ..Modes::PLAIN }, Some(key())).unwrap();
        recorded(&body, &echoed("x"), &privacy)["subject"].as_str().unwrap().to_owned()
    };
    let pseudonym = key().digest(key::Kind::Object, b"2026/a b.jpg");
    assert_eq!(shown(Object::Plain), "photos/2026/a+b.jpg");
    assert_eq!(shown(Object::Prefix), format!("photos/2026/hmac-sha256%3A{pseudonym}"));
    assert_eq!(shown(Object::Hmac), format!("photos/hmac-sha256%3A{pseudonym}"));
    assert_eq!(shown(Object::Drop), "photos");
}

/// Ids that nobody chose stay where others choose them, unless they are somebody's name.
#[test]
fn an_id_stays_unless_it_is_a_name() {
    let (person, id) = ("7c1f0d3e-5b7a-4f0e-9a55-0d6a0f3b6c11", "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f");
    let body = json!({"input": {"account": "Q3AM3UQ867SPQQA43P2F", "groups": null, "action": "s3:GetObject",
        "originalAction": "", "bucket": "lake", "object": format!("by/{person}.csv"), "owner": false, "denyOnly": false,
        "claims": {"sub": person}, "conditions": {"versionid": [id], "Amz-Sdk-Invocation-Id": [id]}}})
    .to_string();
    let privacy = Privacy::new(Modes { account: Account::Drop, object: Object::Drop, ..Modes::PLAIN }, None).unwrap();
    let data = recorded(&body, &echoed(id), &privacy)["data"].clone();
    assert_eq!((&data["resource"]["version"], &data["request"]["sdk_invocation_id"]), (&json!(id), &json!(id)));
    assert_eq!(data["authorizers"][0]["decision_id"], id);
    let data = recorded(&body.replace(id, person), &echoed(person), &privacy)["data"].clone();
    assert!(!data.to_string().contains(person), "{data:#}");
    assert!(data["authorizers"][0]["decision_id"].is_null() && data["resource"]["version"].is_null());
}

/// Whom an admin action is about is a person like the one who acts.
#[test]
fn the_target_of_an_admin_action_has_the_accounts_pseudonym() {
    let body = json!({"input": {"account": "bob", "groups": null, "action": "admin:SetPolicy", "originalAction": "",
        "bucket": "", "object": "", "owner": false, "claims": {}, "denyOnly": false,
        "conditions": {"userOrGroup": ["bob"], "isGroup": ["false"], "policyName": ["readonly"]}}})
    .to_string();
    let shown = |account, key| {
        let privacy = Privacy::new(Modes { account, ..Modes::PLAIN }, key).unwrap();
        recorded(&body, &echoed("x"), &privacy)["data"].clone()
    };
    let data = shown(Account::Hmac, Some(Key::new("k", b"a key of a test, long enough for it").unwrap()));
    let account = data["actor"]["account"].as_str().unwrap().replace(':', "%3A");
    assert_eq!(data["resource"]["target"], format!("userOrGroup={account}&isGroup=false&policyName=readonly"));
    assert_eq!(data["privacy_key_id"], "k");
    let data = shown(Account::Drop, None);
    assert_eq!(data["resource"]["target"], "isGroup=false&policyName=readonly");
    assert!(data["privacy_key_id"].is_null() && data["actor"]["account"].is_null());
}
