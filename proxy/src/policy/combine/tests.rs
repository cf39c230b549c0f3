//! Every combination of what up to three authorizers can say, against the rules written down a second time: as
//! counting, where the code under test searches.

use super::*;
use crate::policy::verdict::Reason;
use crate::wire::answer;

/// What an authorizer can come to.
const CAN_SAY: [&str; 6] = ["allow", "deny", "declared", "undefined", "connect", "timeout"];

fn outcome(word: &str) -> Outcome {
    let answered = |body: &[u8]| Outcome::Answered(answer::read(200, None, false, body).unwrap());
    match word {
        "allow" => answered(br#"{"result":true}"#),
        "deny" => answered(br#"{"result":false}"#),
        "declared" => Outcome::Declared,
        "undefined" => Outcome::Fault(Reason::Undefined),
        "connect" => Outcome::Fault(Reason::Connect),
        "timeout" => Outcome::Fault(Reason::Timeout),
        other => panic!("{other}"),
    }
}

/// What must come out: the reason, who decided, whether as a fallback, and whose answers it rests on.
#[derive(Debug, PartialEq)]
struct Expected {
    reason: Reason,
    decided_by: Option<usize>,
    fallback: bool,
    everyone: bool,
}

/// The rules as the documentation has them. Knows nothing of `Outcome`.
fn oracle(how: Combine, said: &[&str]) -> Expected {
    let is_deny = |word: &&str| matches!(*word, "deny" | "declared");
    let allows = said.iter().filter(|word| **word == "allow").count();
    let denies = said.iter().filter(|word| is_deny(word)).count();
    let faults = said.len() - allows - denies;
    let mut first_fault = Reason::Internal;
    let (mut first_allow, mut first_deny) = (None, None);
    for (place, word) in said.iter().enumerate().rev() {
        match *word {
            "allow" => first_allow = Some(place),
            "deny" | "declared" => first_deny = Some(place),
            "undefined" => first_fault = Reason::Undefined,
            "connect" => first_fault = Reason::Connect,
            _ => first_fault = Reason::Timeout,
        }
    }
    let fault = Expected { reason: first_fault, decided_by: None, fallback: false, everyone: false };
    let (reason, decided_by, everyone) = match how {
        Combine::First => {
            let mut left = said.iter().enumerate().skip_while(|(_, word)| **word != "allow" && !is_deny(word));
            let Some((place, word)) = left.next() else { return fault };
            let reason = if *word == "allow" { Reason::Allowed } else { Reason::Denied };
            return Expected { reason, decided_by: Some(place), fallback: place != 0, everyone: false };
        }
        Combine::All if denies >= 1 => (Reason::Denied, first_deny, false),
        Combine::All if allows == said.len() => (Reason::Allowed, None, true),
        Combine::Any if allows >= 1 => (Reason::Allowed, first_allow, false),
        Combine::Any if denies == said.len() => (Reason::Denied, first_deny, true),
        Combine::All | Combine::Any => {
            assert!(faults >= 1);
            return fault;
        }
    };
    Expected { reason, decided_by, fallback: false, everyone }
}

/// All sequences of one to three words.
fn combinations() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    let mut begin = 0;
    for _ in 0..3 {
        let end = all.len();
        for place in begin..end {
            for word in CAN_SAY {
                let mut longer = all[place].clone();
                longer.push(word);
                all.push(longer);
            }
        }
        begin = end;
    }
    all.remove(0);
    all
}

#[test]
fn every_combination_of_three_authorizers_is_as_documented() {
    let combinations = combinations();
    assert_eq!(combinations.len(), 6 + 36 + 216);
    for how in [Combine::First, Combine::All, Combine::Any] {
        for said in &combinations {
            let outcomes: Vec<Outcome> = said.iter().map(|word| outcome(word)).collect();
            let words: Vec<&Outcome> = outcomes.iter().collect();
            let chosen = how.choose(&words).unwrap();
            let came = Expected {
                reason: words[chosen.place].reason(),
                decided_by: chosen.decided.then_some(chosen.place),
                fallback: chosen.fallback,
                everyone: chosen.rests_on == RestsOn::Everyone,
            };
            assert_eq!(came, oracle(how, said), "{how:?} of {said:?}");
            if words[chosen.place].decision() == Decision::Allow {
                assert!(said.contains(&"allow"), "{how:?} allows out of {said:?}");
            }
            if how == Combine::All && words[chosen.place].decision() == Decision::Allow {
                assert!(said.iter().all(|word| *word == "allow"), "{said:?}");
            }
        }
    }
}

#[test]
fn nobody_decides_nothing() {
    for how in [Combine::First, Combine::All, Combine::Any] {
        assert_eq!(how.choose(&[]), None);
    }
}
