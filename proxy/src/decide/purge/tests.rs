//! Which answers a purge takes back, and that rules stay few.

use super::*;

const LONGEST: Duration = Duration::from_secs(10);

fn request(account: &str, bucket: &str, object: &str) -> Request {
    Request { account: account.into(), bucket: bucket.into(), object: object.into(), ..Request::bare("s3:GetObject") }
}

fn rule(account: Option<&str>, bucket: Option<&str>, prefix: Option<&str>) -> Rule {
    Rule::new(false, account, bucket, prefix).unwrap()
}

/// Whether `rule` takes back what was known about `request` when it was made.
fn takes(rule: Rule, request: &Request) -> bool {
    let purges = Purges::new(LONGEST);
    let sent = Moment::now();
    purges.purge(rule);
    purges.covers(request, sent)
}

#[test]
fn a_rule_says_what_it_is_about() {
    assert_eq!(Rule::new(true, None, None, None), Ok(Rule::Everything));
    assert_eq!(Rule::new(false, None, None, None), Err(RuleError::Nothing));
    assert_eq!(Rule::new(true, Some("alice"), None, None), Err(RuleError::AllAndSome));
    assert_eq!(Rule::new(false, Some("alice"), None, Some("a/")), Err(RuleError::PrefixOnly));
}

#[test]
fn everything_that_is_named_must_fit() {
    let asked = request("alice", "photos", "2026/a.jpg");
    for (what, fits) in [
        (Rule::Everything, true),
        (rule(Some("alice"), None, None), true),
        (rule(Some("alic"), None, None), false),
        (rule(Some("Alice"), None, None), false),
        (rule(None, Some("photos"), None), true),
        (rule(None, Some("photo"), None), false),
        (rule(None, Some("photos"), Some("2026/")), true),
        (rule(None, Some("photos"), Some("2025/")), false),
        (rule(None, Some("music"), Some("2026/")), false),
        (rule(Some("alice"), Some("photos"), Some("2026/")), true),
        (rule(Some("bob"), Some("photos"), Some("2026/")), false),
        (rule(Some("alice"), Some("music"), None), false),
    ] {
        assert_eq!(takes(what.clone(), &asked), fits, "{what:?}");
    }
    assert!(takes(rule(None, Some("photos"), Some("2026/")), &request("alice", "photos", "")), "a listing");
}

#[test]
fn keys_derived_from_an_account_go_with_it() {
    const DN: &str = "uid=ada,ou=people,dc=example,dc=org";
    for (claim, name) in [
        ("parent", "alice"),
        ("ldapUsername", "ada"),
        ("ldapUser", DN),
        ("ldapActualUser", DN),
        ("sub", "f3b1a2c4"),
        ("preferred_username", "ada"),
        ("email", "ada@example.org"),
    ] {
        let mut derived = request("AKIA7", "photos", "a");
        derived.claims.strings.push((claim.into(), name.into()));
        assert!(takes(rule(Some(name), None, None), &derived), "{claim}");
        assert!(takes(rule(Some("AKIA7"), None, None), &derived), "the key itself");
        assert!(!takes(rule(Some("bob"), None, None), &derived), "{claim}");
        let half = name.get(1..).unwrap();
        assert!(!takes(rule(Some(half), None, None), &derived), "a part of a name is no name: {claim}");
    }
}

#[test]
fn what_was_asked_later_is_used() {
    let purges = Purges::new(LONGEST);
    let asked = request("alice", "photos", "a");
    let before = Moment::now();
    assert!(!purges.covers(&asked, before));
    purges.purge(rule(Some("alice"), None, None));
    std::thread::sleep(Duration::from_millis(1));
    let after = Moment::now();
    assert!(purges.covers(&asked, before) && !purges.covers(&asked, after));
    assert!(!purges.covers(&request("bob", "photos", "a"), before));
    // A later purge of something else does not bring it back, and one of everything takes all of it.
    purges.purge(rule(Some("bob"), None, None));
    assert!(purges.covers(&asked, before) && !purges.covers(&asked, after));
    purges.purge(Rule::Everything);
    assert!(purges.covers(&asked, after));
}

#[test]
fn rules_are_few_and_do_not_outlive_what_they_are_about() {
    let purges = Purges::new(LONGEST);
    let sent = Moment::now();
    for number in 0..MAX_RULES {
        purges.purge(rule(Some(&number.to_string()), None, None));
        purges.purge(rule(Some(&number.to_string()), None, None));
    }
    assert_eq!(purges.rules.load().some.len(), MAX_RULES, "the same rule again replaces itself");
    assert!(!purges.covers(&request("alice", "photos", "a"), sent));
    purges.purge(rule(Some("one more"), None, None));
    assert!(purges.rules.load().some.is_empty());
    assert!(purges.covers(&request("alice", "photos", "a"), sent), "one rule too many is about everything");

    purges.purge(rule(Some("alice"), None, None));
    crate::decide::moment::asleep::sleep(LONGEST * 2);
    purges.purge(rule(Some("bob"), None, None));
    assert_eq!(purges.rules.load().some.len(), 1);
}
