//! Questions made of records: of every sample question's record the same question comes back, as far as a record holds it.

use serde_json::json;

use super::*;

fn record(change: impl FnOnce(&mut Value)) -> Value {
    let mut record = json!({
        "id": "01939e2b-0000-7000-8000-000000000000", "type": "io.countersign.decision.v1",
        "time": "2026-11-23T13:00:00.123456Z",
        "data": {
            "decision": "allow", "reason": "allowed", "purpose": "access", "action": "s3:GetObject", "deny_only": false,
            "actor": { "account": "alice", "kind": "user", "principal": "alice", "principal_from": "account", "issuer": null,
                       "parent": null, "groups": [], "owner": false },
            "resource": { "type": "object", "bucket": "photos", "object": "2026/a.jpg", "version": null, "prefix": null,
                          "kms_key": null, "target": null },
            "request": { "reported_ip": "203.0.113.9", "tls": true, "auth_type": "REST-HEADER", "user_agent": "mc" },
            "privacy_key_id": null, "redacted": ["Authorization"],
        },
    });
    change(&mut record["data"]);
    record
}

fn rebuilt(change: impl FnOnce(&mut Value)) -> Rebuilt {
    of(&record(change)).unwrap()
}

#[test]
fn a_question_has_what_its_record_holds() {
    let Rebuilt { request, decided, not_held, .. } = rebuilt(|_| {});
    assert_eq!((request.account.as_str(), request.action.as_str()), ("alice", "s3:GetObject"));
    assert_eq!((request.bucket.as_str(), request.object.as_str()), ("photos", "2026/a.jpg"));
    assert!(!request.deny_only && !request.owner && request.groups.is_none() && request.unknown.is_empty());
    assert_eq!(decided, Decision::Allow);
    assert_eq!(not_held, ["Authorization"]);
    for (name, value) in [
        ("CurrentTime", "2026-11-23T13:00:00Z"),
        ("EpochTime", "1795438800"),
        ("SecureTransport", "true"),
        ("SourceIp", "203.0.113.9"),
        ("UserAgent", "mc"),
        ("authType", "REST-HEADER"),
        ("principaltype", "User"),
        ("username", "alice"),
        ("userid", "alice"),
        ("versionid", ""),
    ] {
        assert_eq!(request.first_condition(name), Some(value), "{name}");
    }
}

#[test]
fn derived_keys_are_their_users() {
    let ldap = rebuilt(|data| {
        data["actor"] = json!({ "account": "STS7", "kind": "sts", "principal": "ada", "principal_from": "ldapUsername",
                                "issuer": null, "parent": null, "groups": ["cn=staff"], "owner": false });
    })
    .request;
    assert_eq!((ldap.claims.string("ldapUsername"), ldap.first_condition("username")), (Some("ada"), Some("ada")));
    assert_eq!(ldap.groups, Some(vec!["cn=staff".into()]));
    let oidc = rebuilt(|data| {
        data["actor"] = json!({ "account": "STS8", "kind": "sts", "principal": "f3b1", "principal_from": "sub",
                                "issuer": "https://id", "parent": null, "groups": ["staff"], "owner": false });
    })
    .request;
    assert_eq!((oidc.claims.string("sub"), oidc.claims.string("iss")), (Some("f3b1"), Some("https://id")));
    assert_eq!(oidc.groups, None, "an identity provider's groups are claims");
    assert!(std::str::from_utf8(&oidc.claims.text).unwrap().contains(r#""groups":["staff"]"#));
    let service = rebuilt(|data| {
        data["actor"]["kind"] = "service_account".into();
        (data["actor"]["account"], data["actor"]["parent"]) = ("SA1".into(), "alice".into());
    })
    .request;
    assert!(service.claims.string("sa-policy").is_some() && service.claims.string("parent") == Some("alice"));
    let anonymous = rebuilt(|data| {
        (data["actor"]["kind"], data["actor"]["account"]) = ("anonymous".into(), "".into());
    });
    assert_eq!(anonymous.request.claims.text, "null");
}

#[test]
fn admin_targets_and_list_filters_are_conditions_again() {
    let admin = rebuilt(|data| {
        data["action"] = "admin:CreateUser".into();
        data["resource"] =
            json!({ "type": "admin", "bucket": null, "object": null, "target": "accessKey=b%3Db+c&group=x" });
    })
    .request;
    assert_eq!((admin.first_condition("accessKey"), admin.first_condition("group")), (Some("b=b c"), Some("x")));
    let filter = rebuilt(|data| {
        (data["action"], data["purpose"]) = ("s3:ListBucket".into(), "list_filter".into());
        data["resource"] = json!({ "type": "bucket", "bucket": "photos", "object": null });
    })
    .request;
    assert_eq!((filter.first_condition("Prefix"), filter.first_condition("Delimiter")), (Some(""), Some("/")));
}

#[test]
fn what_cannot_be_asked_is_named() {
    let hash = "a".repeat(64);
    let skipped = |change: &dyn Fn(&mut Value)| of(&record(change)).err();
    for (change, why) in [
        (&(|data: &mut Value| data["reason"] = "timeout".into()) as &dyn Fn(&mut Value), Skipped::NoVerdict),
        (&|data| data["actor"]["account"] = Value::Null, Skipped::Hidden),
        (&|data| data["resource"]["object"] = Value::Null, Skipped::Hidden),
        (
            &|data| {
                data["privacy_key_id"] = "2026-11".into();
                data["actor"]["account"] = format!("hmac-sha256:{hash}").into();
            },
            Skipped::Hidden,
        ),
        (
            &|data| {
                data["privacy_key_id"] = "2026-11".into();
                data["resource"]["object"] = format!("2026/hmac-sha256:{hash}").into();
            },
            Skipped::Hidden,
        ),
        (&|data| data["resource"]["object"] = format!("a…sha256:{hash}").into(), Skipped::Cut),
        (&|data| data["action"] = Value::Null, Skipped::Unreadable),
    ] {
        assert_eq!(skipped(change), Some(why));
    }
    // A name that only looks like a pseudonym is one to be asked about, where no key is in force.
    assert!(of(&record(|data| data["actor"]["account"] = format!("hmac-sha256:{hash}").into())).is_ok());
    // An address that is hidden is only not given.
    let hidden = rebuilt(|data| {
        data["privacy_key_id"] = "2026-11".into();
        data["request"]["reported_ip"] = format!("hmac-sha256:{hash}").into();
        data["request"]["user_agent"] = Value::Null;
    });
    assert!(!hidden.request.has_condition("SourceIp") && !hidden.request.has_condition("UserAgent"));
    assert_eq!(hidden.not_held, ["Authorization", "SourceIp", "UserAgent"]);
}

#[test]
fn questions_that_differ_in_their_time_alone_are_equal() {
    let base = rebuilt(|_| {});
    let later = of(&{
        let mut later = record(|_| {});
        later["time"] = "2026-11-24T13:00:00.123456Z".into();
        later
    })
    .unwrap();
    assert_eq!(base.equal, later.equal);
    for change in [
        &(|data: &mut Value| data["actor"]["account"] = "bob".into()) as &dyn Fn(&mut Value),
        &|data| data["deny_only"] = true.into(),
        &|data| data["request"]["reported_ip"] = "203.0.113.8".into(),
        &|data| data["actor"]["groups"] = json!(["staff"]),
    ] {
        assert_ne!(base.equal, rebuilt(change).equal);
    }
}
