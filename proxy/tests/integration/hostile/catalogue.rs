//! The catalogue itself: which inputs there are, and where each is that no row here tries.

use std::collections::BTreeSet;

use super::{answers, at_the_front, exchanges};
use crate::tidy::files;

/// An input that no row tries, why, and the tests that have it instead.
struct Elsewhere {
    id: &'static str,
    why: &'static str,
    tests: &'static [&'static str],
}

const fn at(id: &'static str, why: &'static str, tests: &'static [&'static str]) -> Elsewhere {
    Elsewhere { id, why, tests }
}

/// Those of the front. Some are tried in part by rows as well.
const FRONT: [Elsewhere; 14] = [
    at(
        "H16",
        "a hundred good ones sent ahead, and their order",
        &["framing::questions_sent_ahead_are_answered_in_their_order"],
    ),
    at(
        "H19",
        "connections that drip, beside good questions; in time, `loadtest prove drips`",
        &["hostile::nothing_hostile_gets_in_at_the_front"],
    ),
    at("H20", "silent within a body", &["front::half_a_body_decides_nothing"]),
    at("H21", "silent from the start, beside good questions", &["hostile::nothing_hostile_gets_in_at_the_front"]),
    at(
        "H22",
        "over TLS, frame by frame; without TLS HTTP/2 is not spoken",
        &["streams::nothing_hostile_gets_in_over_http2", "front::http2_without_tls_is_not_spoken"],
    ),
    at(
        "H23",
        "plain bytes, old versions and silence on a port with TLS",
        &["secure::old_versions_plain_text_and_silence_are_turned_away"],
    ),
    at(
        "H24",
        "100 MiB and an endless body, really sent",
        &["front::a_body_of_100_mib_is_refused_with_a_clear_answer", "front::an_endless_chunked_body_is_cut_off"],
    ),
    at("H40", "secrets are looked for in every sink", &["canaries::no_secret_is_in_any_sink"]),
    at(
        "H42",
        "the log, with everything in it that there is to say",
        &["logs::nothing_that_is_asked_can_act_on_a_terminal"],
    ),
    at(
        "H43",
        "a thousand questions, a million names",
        &["cardinality::the_process_exposes_the_same_series_after_whatever_is_asked"],
    ),
    at(
        "H44",
        "keys are compared where they are made",
        &["key/tests::every_member_counts", "key/tests::a_million_changes_make_a_million_keys"],
    ),
    at(
        "H45",
        "what is remembered, on the binary",
        &["cache::a_fault_is_never_remembered", "cache::a_deny_has_a_lifetime_of_its_own"],
    ),
    at(
        "H46",
        "a limit of its own",
        &["cache/tests::it_never_holds_more_than_it_was_given_and_drops_the_longest_unused"],
    ),
    at(
        "H48",
        "left out: no rate for each account; a full spool denies, and says so",
        &["spool_process::a_full_disk_denies_and_everything_refused_is_counted"],
    ),
];

/// Those of an authorizer.
const AUTHORIZER: [Elsewhere; 14] = [
    at("U34", "answers that change places", &["pool::answers_never_change_places"]),
    at(
        "U35",
        "left out: authorizers are asked in HTTP/1.1 only",
        &["authorizer::the_question_goes_out_as_it_was_read"],
    ),
    at(
        "U39",
        "certificates that prove nothing",
        &["encrypted::whoever_cannot_prove_who_it_is_is_not_asked", "encrypted::old_tls_is_refused"],
    ),
    at(
        "U40",
        "addresses are the operator's to name; one that is our own",
        &["places::an_authorizer_that_is_ourselves_denies_and_ends"],
    ),
    at(
        "U41",
        "left out: whoever decides can allow; that it did is recorded",
        &["replay::the_same_policy_agrees_and_another_differs_where_it_does"],
    ),
    at(
        "U42",
        "the first answer stands until its end or a purge",
        &["cache::a_hit_names_the_record_it_came_from", "purge::what_a_rule_is_about_is_asked_again"],
    ),
    at("U43", "one clock, one limit", &["decided::a_late_allow_is_dropped"]),
    at("U44", "an answer before the whole question", &["authorizer::an_answer_before_the_whole_question_is_none"]),
    at(
        "U45",
        "authorizers that disagree are combined as the route says",
        &["combining::authorizers_are_combined_as_the_route_says"],
    ),
    at("F60", "a black hole", &["authorizer::nobody_there_is_told_from_nobody_answering"]),
    at("F61", "names that change", &["resolve/tests::good_addresses_outlive_the_name_service_for_a_bounded_time"]),
    at("F71", "as U39", &["encrypted::whoever_cannot_prove_who_it_is_is_not_asked", "encrypted::old_tls_is_refused"]),
    at("F72", "more questions than places", &["places::an_authorizer_that_hangs_takes_its_own_places_only"]),
    at(
        "F73",
        "one that comes and goes, and its breaker",
        &["combining::a_breaker_opens_and_closes", "fail_closed::an_authorizer_that_is_away_denies_until_it_is_back"],
    ),
];

fn ids(letter: char, numbers: std::ops::RangeInclusive<u8>) -> impl Iterator<Item = String> {
    numbers.map(move |number| format!("{letter}{number:02}"))
}

/// What of `all` is neither tried nor listed, and what is tried or listed and is not in it.
fn gaps(all: impl Iterator<Item = String>, tried: &BTreeSet<&str>, listed: &[Elsewhere]) -> Vec<String> {
    let all: BTreeSet<String> = all.collect();
    let has: BTreeSet<String> =
        tried.iter().copied().chain(listed.iter().map(|one| one.id)).map(str::to_owned).collect();
    all.symmetric_difference(&has).cloned().collect()
}

#[test]
fn every_input_of_the_catalogue_is_tried_or_listed() {
    let front = at_the_front("127.0.0.1:1");
    let front: BTreeSet<&str> = front.iter().map(|row| row.id).collect();
    assert_eq!(gaps(ids('H', 1..=52), &front, &FRONT), [""; 0]);
    let authorizer: Vec<_> = answers::rows().into_iter().chain(exchanges::rows("127.0.0.1:1")).collect();
    let authorizer: BTreeSet<&str> = authorizer.iter().map(|row| row.id).collect();
    assert_eq!(gaps(ids('F', 60..=75).chain(ids('U', 1..=45)), &authorizer, &AUTHORIZER), [""; 0]);
    // The control: one that is left out, and one that there is not.
    let fewer: BTreeSet<&str> = front.iter().copied().filter(|id| *id != "H09").chain(["H99"]).collect();
    assert_eq!(gaps(ids('H', 1..=52), &fewer, &FRONT), ["H09", "H99"]);
    let only_listed =
        |tried: &BTreeSet<&str>, listed: &[Elsewhere]| listed.iter().filter(|one| !tried.contains(one.id)).count();
    assert_eq!((only_listed(&front, &FRONT), only_listed(&authorizer, &AUTHORIZER)), (8, 12), "not tried here");
}

/// `module::test`, in a file of that name.
fn exists(rust: &[files::File], name: &str) -> bool {
    let (module, test) = name.rsplit_once("::").unwrap();
    files::has_test(rust, module, test)
}

#[test]
fn every_test_that_is_named_exists() {
    let rust = files::rust();
    assert!(!exists(&rust, "front::there_is_no_such_test") && !exists(&rust, "catalogue::gaps"));
    let listed = FRONT.iter().chain(&AUTHORIZER);
    assert!(listed.clone().all(|one| !one.why.is_empty() && !one.tests.is_empty()));
    let page = std::fs::read_to_string(files::root().join("docs/SECURITY.md")).unwrap();
    let on_the_page: Vec<&str> = page.split('`').filter(|word| word.contains("::") && !word.contains(' ')).collect();
    assert!(on_the_page.len() > 8, "{on_the_page:?}");
    let named = listed.flat_map(|one| one.tests).chain(&on_the_page);
    let absent: Vec<String> = named.filter(|name| !exists(&rust, name)).map(|name| (*name).to_owned()).collect();
    files::fail_on(&absent);
}
