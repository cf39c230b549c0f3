//! Every member that is not on the list changes the key; what is on it does not. H44 of the hostile-input table.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::policy::request::Claims;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

type Condition = (Text, Values);

#[derive(Debug, Clone)]
struct Asked {
    request: Request,
    client: Text,
    route: Text,
}

fn maker(generation: u64) -> KeyMaker {
    KeyMaker { secret: [7; 32], generation, ignore: IgnoreList::new::<&str>(true, &[]) }
}

fn key(asked: &Asked) -> Key {
    maker(1).key(&asked.request, &asked.client, &asked.route)
}

fn condition(name: &str, values: &[&str]) -> Condition {
    (name.into(), values.iter().map(|&value| value.into()).collect())
}

fn any_text() -> impl Strategy<Value = Text> {
    "[a-c/é]{0,3}".prop_map(Text::from)
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let conditions = prop::collection::btree_map("[A-Za-c]{1,3}", prop::collection::vec(any_text(), 0..3), 0..4);
    let unknown = prop::collection::btree_map("[u-w]{1,2}", "[0-9]{1,3}", 0..3);
    let words = (any_text(), any_text(), any_text(), any_text(), any_text(), any_text());
    let options = (prop::option::of(prop::collection::vec(any_text(), 0..3)), prop::option::of(any_text()));
    (words, options, any::<(bool, bool)>(), conditions, unknown, any_text()).prop_map(
        |((client, route, account, action, bucket, object), options, flags, conditions, unknown, claims)| {
            let request = Request {
                bytes: Bytes::new(),
                account,
                groups: options.0,
                action,
                original_action: options.1,
                bucket,
                object,
                owner: flags.0,
                deny_only: flags.1,
                conditions: conditions
                    .into_iter()
                    .map(|(name, values)| (name.into(), values.into()))
                    .collect::<Vec<_>>()
                    .into(),
                claims: Claims { text: Bytes::from(claims.into_string()), strings: Vec::new() },
                unknown: unknown.into_iter().map(|(name, text)| (name, Bytes::from(text))).collect(),
            };
            Asked { request, client, route }
        },
    )
}

/// One change each, to one member.
fn member_changes(asked: &Asked) -> Vec<(&'static str, Asked)> {
    let mut changes = Vec::new();
    let mut change = |what, edit: &dyn Fn(&mut Asked)| {
        let mut changed = asked.clone();
        edit(&mut changed);
        changes.push((what, changed));
    };
    change("client", &|a| a.client.push('x'));
    change("route", &|a| a.route.push('x'));
    change("deny_only", &|a| a.request.deny_only ^= true);
    change("owner", &|a| a.request.owner ^= true);
    change("account", &|a| a.request.account.push('x'));
    change("action", &|a| a.request.action.push('x'));
    change("bucket", &|a| a.request.bucket.push('x'));
    change("object", &|a| a.request.object.push('x'));
    change("object case", &|a| a.request.object.push('X'));
    change("original action", &|a| {
        a.request.original_action = match &a.request.original_action {
            None => Some(Text::default()),
            Some(_) => None,
        }
    });
    change("groups", &|a| {
        a.request.groups = match &a.request.groups {
            None => Some(Vec::new()),
            Some(groups) if groups.is_empty() => Some(vec![Text::default()]),
            Some(_) => None,
        }
    });
    change("one more group", &|a| a.request.groups.get_or_insert_default().push("x".into()));
    change("claims", &|a| a.request.claims.text = [&a.request.claims.text[..], b" "].concat().into());
    change("unknown", &|a| a.request.unknown.push(("x".into(), Bytes::from_static(b"1"))));
    change("condition", &|a| a.request.conditions.edit(|all| all.push(condition("x", &[]))));
    change("payload word", &|a| {
        a.request.conditions.edit(|all| all.push(condition(PAYLOAD_HASH, &["UNSIGNED-PAYLOAD"])))
    });
    change("payload hash", &|a| a.request.conditions.edit(|all| all.push(condition(PAYLOAD_HASH, &[HASH]))));
    change("tag keys", &|a| a.request.conditions.edit(|all| all.push(condition(TAG_KEYS, &["x"]))));
    changes
}

/// Characters moved across the border of two members, and values across the border of two lists.
fn border_changes(asked: &Asked) -> Vec<(&'static str, Asked)> {
    let mut changes = Vec::new();
    let mut shift = |what, from: fn(&mut Asked) -> &mut Text, to: fn(&mut Asked) -> &mut Text| {
        let mut changed = asked.clone();
        if let Some(last) = from(&mut changed).pop() {
            to(&mut changed).insert(0, last);
            changes.push((what, changed));
        }
    };
    shift("client to route", |a| &mut a.client, |a| &mut a.route);
    shift("route to account", |a| &mut a.route, |a| &mut a.request.account);
    shift("account to action", |a| &mut a.request.account, |a| &mut a.request.action);
    shift("action to bucket", |a| &mut a.request.action, |a| &mut a.request.bucket);
    shift("bucket to object", |a| &mut a.request.bucket, |a| &mut a.request.object);
    for place in 0..asked.request.conditions.len() {
        let mut edit = |what, edit: &dyn Fn(&mut Condition)| {
            let mut changed = asked.clone();
            changed.request.conditions.edit(|all| edit(&mut all[place]));
            changes.push((what, changed));
        };
        edit("renamed condition", &|c| c.0.push('0'));
        edit("one more value", &|c| c.1.push(Text::default()));
        edit("first value", &|c| match c.1.first_mut() {
            Some(value) => value.push('x'),
            None => c.1.push("x".into()),
        });
        let (name, values) = asked.request.conditions.iter().nth(place).unwrap();
        if values.len() == 2 && values[0] != values[1] {
            edit("order of values", &|c| c.1.reverse());
        }
        if values.len() == 2 {
            edit("two values joined", &|c| c.1 = [Text::from(c.1.concat())].into());
        }
        if values.len() == 1 && !name.is_empty() {
            edit("name to value", &|c| {
                let last = c.0.pop().unwrap();
                c.1[0].insert(0, last);
            });
        }
    }
    changes
}

#[test]
fn every_member_counts() {
    let compared = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 5_000, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_asked(), |asked| {
            let original = key(&asked);
            let changes = [member_changes(&asked), border_changes(&asked)].concat();
            compared.set(compared.get() + changes.len());
            for (what, changed) in changes {
                prop_assert_ne!(original, key(&changed), "{} does not count: {:?}", what, changed);
            }
            prop_assert_ne!(original, maker(2).key(&asked.request, &asked.client, &asked.route), "generation");
            Ok(())
        })
        .unwrap();
    assert!(compared.get() >= 100_000, "only {} pairs of questions were compared", compared.get());
}

#[test]
fn what_is_declared_does_not_count() {
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_asked(), |asked| {
            let original = key(&asked);
            let mut changed = asked.clone();
            changed.request.bytes = Bytes::from_static(b"other bytes");
            changed.request.conditions.edit(|all| all.reverse());
            prop_assert_eq!(original, key(&changed));
            for name in IGNORED_BY_DEFAULT {
                changed.request.conditions.edit(|all| all.insert(0, condition(name, &["now", "then"])));
            }
            prop_assert_eq!(original, key(&changed));
            Ok(())
        })
        .unwrap();
}

fn plain(conditions: Vec<Condition>) -> Asked {
    let request = Request {
        account: "alice".into(),
        bucket: "photos".into(),
        object: "a".into(),
        conditions: conditions.into(),
        ..Request::bare("s3:PutObject")
    };
    Asked { request, client: "local".into(), route: "default".into() }
}

#[test]
fn payload_hashes_are_reduced_and_words_are_not() {
    let with = |value: &str| key(&plain(vec![condition(PAYLOAD_HASH, &[value])]));
    assert_eq!(with(HASH), with(&"ab".repeat(32)));
    let words = ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "sha256", &HASH[1..], HASH];
    for (place, word) in words.iter().enumerate() {
        for other in &words[place + 1..] {
            assert_ne!(with(word), with(other), "{word} and {other}");
        }
    }
    // Without the defaults every payload is a question of its own.
    let exact = KeyMaker { secret: [7; 32], generation: 1, ignore: IgnoreList::new::<&str>(false, &[]) };
    let exactly = |value: &str| {
        let asked = plain(vec![condition(PAYLOAD_HASH, &[value])]);
        exact.key(&asked.request, &asked.client, &asked.route)
    };
    assert_ne!(exactly(HASH), exactly(&"ab".repeat(32)));
}

#[test]
fn tag_keys_come_in_any_order_and_other_values_do_not() {
    let with = |name: &str, values: &[&str]| key(&plain(vec![condition(name, values)]));
    assert_eq!(with(TAG_KEYS, &["a", "b"]), with(TAG_KEYS, &["b", "a"]));
    assert_ne!(with(TAG_KEYS, &["a", "b"]), with(TAG_KEYS, &["a", "a"]));
    assert_ne!(with("SourceIp", &["a", "b"]), with("SourceIp", &["b", "a"]));
}

#[test]
fn additions_are_exact_names_and_the_defaults_can_be_left_out() {
    let asked = |name: &str| plain(vec![condition(name, &["v"])]).request;
    let nothing = plain(Vec::new()).request;
    let added = KeyMaker { secret: [7; 32], generation: 1, ignore: IgnoreList::new(true, &["Content-Length"]) };
    let bare = KeyMaker { secret: [7; 32], generation: 1, ignore: IgnoreList::new(false, &["Content-Length"]) };
    let same = |maker: &KeyMaker, name: &str| maker.key(&asked(name), "c", "r") == maker.key(&nothing, "c", "r");
    assert!(same(&added, "Content-Length") && same(&added, "Date") && same(&bare, "Content-Length"));
    assert!(!same(&added, "content-length") && !same(&added, "date") && !same(&bare, "Date"));
}

#[test]
fn two_processes_never_share_a_key() {
    let one = KeyMaker::new(1, IgnoreList::new::<&str>(true, &[]));
    let other = KeyMaker::new(1, IgnoreList::new::<&str>(true, &[]));
    let asked = plain(Vec::new());
    assert_ne!(one.key(&asked.request, "c", "r"), other.key(&asked.request, "c", "r"));
    assert_eq!(one.key(&asked.request, "c", "r"), one.key(&asked.request, "c", "r"));
}

/// A question of a real MinIO, in parts that can be changed one by one.
fn real_questions() -> Vec<Request> {
    let lines = include_str!("../../../tests/vectors/minio-requests.jsonl").lines();
    lines
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            crate::wire::question::read(row["body"].to_string().into()).unwrap()
        })
        .collect()
}

/// A text within a question.
#[derive(Debug, Clone, Copy)]
enum Place {
    Account,
    Action,
    OriginalAction,
    Bucket,
    Object,
    Group(usize),
    Name(usize),
    Value(usize, usize),
}

impl Place {
    /// Every text that counts.
    fn all(request: &Request) -> Vec<Self> {
        let ignored = |name: &str| IGNORED_BY_DEFAULT.contains(&name) || name == PAYLOAD_HASH;
        let mut all = vec![Self::Account, Self::Action, Self::Bucket, Self::Object];
        all.extend(request.original_action.iter().map(|_| Self::OriginalAction));
        all.extend((0..request.groups.iter().flatten().count()).map(Self::Group));
        for (number, (name, values)) in request.conditions.iter().enumerate().filter(|(_, c)| !ignored(&c.0)) {
            assert!(!name.is_empty());
            all.push(Self::Name(number));
            all.extend((0..values.len()).map(|value| Self::Value(number, value)));
        }
        all
    }

    /// The question with another text in this place.
    fn changed(self, request: &Request, change: impl FnOnce(&mut Text)) -> Request {
        let mut changed = request.clone();
        match self {
            Self::Account => change(&mut changed.account),
            Self::Action => change(&mut changed.action),
            Self::OriginalAction => change(changed.original_action.as_mut().unwrap()),
            Self::Bucket => change(&mut changed.bucket),
            Self::Object => change(&mut changed.object),
            Self::Group(number) => change(&mut changed.groups.as_mut().unwrap()[number]),
            Self::Name(number) => changed.conditions.edit(|all| change(&mut all[number].0)),
            Self::Value(number, value) => changed.conditions.edit(|all| change(&mut all[number].1[value])),
        }
        changed
    }
}

/// C10: a million questions, each unlike every other in one place, have a million keys. Places are all texts of real
/// questions; changes are characters put in, taken away and replaced.
#[test]
fn a_million_changes_make_a_million_keys() {
    const LEAST: usize = 1_000_000;
    let mut keys = std::collections::HashSet::with_capacity(LEAST * 2);
    let bases: Vec<_> = real_questions().into_iter().map(|base| (Place::all(&base), base)).collect();
    assert!(bases.iter().map(|(places, _)| places.len()).sum::<usize>() > 200, "real questions have many places");
    let maker = maker(1);
    for number in 0_usize.. {
        for (places, request) in &bases {
            for place in places {
                let changed = place.changed(request, |text| {
                    // The number makes the change another one than that of any round before.
                    let end = text.floor_char_boundary(number % (text.len() + 1));
                    let (before, after) = text.split_at(end);
                    *text = match number % 3 {
                        0 => format!("{before}~{number}~{after}").into(),
                        1 => format!("{before}~{number}~").into(),
                        _ => format!("~{number}~{after}").into(),
                    };
                });
                let is_new = keys.insert(maker.key(&changed, "local", "default"));
                assert!(is_new, "round {number}, {place:?} of {request:?}");
            }
        }
        if keys.len() >= LEAST {
            break;
        }
    }
    for (_, base) in &bases {
        assert!(!keys.contains(&maker.key(base, "local", "default")), "no change made an original question");
    }
}

/// The other half of the promise: what only tells calls apart does not.
#[test]
fn real_traffic_that_repeats_itself_hits() {
    let (bases, maker) = (real_questions(), maker(1));
    let mut seen = std::collections::HashSet::new();
    let (mut asked, mut hits) = (0, 0);
    for call in 0..20 {
        for base in &bases {
            let mut request = base.clone();
            request.conditions.edit(|all| {
                for (name, values) in all {
                    let changes = [
                        "CurrentTime",
                        "EpochTime",
                        "Date",
                        "X-Amz-Date",
                        "Authorization",
                        "X-Amz-Signature",
                        "X-Amz-Security-Token",
                        "Amz-Sdk-Invocation-Id",
                        "X-Request-Id",
                        "Traceparent",
                        "uploadId",
                        "partNumber",
                        "continuation-token",
                    ];
                    if changes.contains(&name.as_str()) {
                        values.iter_mut().for_each(|value| value.push_str(&call.to_string()));
                    }
                    if name == PAYLOAD_HASH && values[0].len() == 64 {
                        values[0] = crate::policy::limited::sha256_hex(call.to_string()).into();
                    }
                }
            });
            asked += 1;
            hits += usize::from(!seen.insert(maker.key(&request, "local", "default")));
        }
    }
    assert!(hits * 100 >= asked * 90, "{hits} of {asked}");
}
