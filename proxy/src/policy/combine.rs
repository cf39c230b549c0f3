//! How the words of several authorizers become one verdict: `first`, `all`, `any`. It only chooses among the words it
//! is given, so it cannot allow where nobody did. Not the asking; that is `decide::combine`, the only caller.

use crate::policy::decided::Outcome;
use crate::policy::route::Combine;
use crate::policy::verdict::Decision;

/// Which of the words is the route's, by place in the order asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    pub place: usize,
    /// That authorizer alone gave the verdict. False for a fault, and for an allow by `all`, which takes every one.
    pub decided: bool,
    /// It was asked only because one before it ended in a fault.
    pub fallback: bool,
    pub rests_on: RestsOn,
}

/// Whose answers an equal verdict would take again, and so whose limits on keeping it count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestsOn {
    Chosen,
    Everyone,
}

impl Combine {
    /// Whether the next authorizer is asked only once this word is known not to decide.
    pub const fn in_turn(self) -> bool {
        match self {
            Self::First => true,
            Self::All | Self::Any => false,
        }
    }

    /// Chooses among the words of the authorizers that were asked, in `ask` order; for `first` the last of them is the
    /// one that decided or nobody did. `None` where nobody was asked.
    pub fn choose(self, words: &[&Outcome]) -> Option<Chosen> {
        let find = |wanted: Word| words.iter().position(|word| Word::of(word) == wanted);
        let (allow, deny, fault) = (find(Word::Allow), find(Word::Deny), find(Word::Fault));
        let alone = |place| Chosen { place, decided: true, fallback: false, rests_on: RestsOn::Chosen };
        let together = |place, decided| Chosen { place, decided, fallback: false, rests_on: RestsOn::Everyone };
        let nobody = |place| Chosen { decided: false, ..alone(place) };
        match self {
            Self::First => {
                let answered = words.iter().position(|word| Word::of(word) != Word::Fault);
                let after_a_fault = |place| Chosen { fallback: place > 0, ..alone(place) };
                answered.map(after_a_fault).or_else(|| fault.map(nobody))
            }
            // A deny stands whatever else there is; an allow needs everyone.
            Self::All => deny.map(alone).or_else(|| fault.map(nobody)).or_else(|| allow.map(|at| together(at, false))),
            // An allow stands whatever else there is; a deny needs everyone.
            Self::Any => allow.map(alone).or_else(|| fault.map(nobody)).or_else(|| deny.map(|at| together(at, true))),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Allow,
    Deny,
    Fault,
}

impl Word {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Fault(_) => Self::Fault,
            Outcome::Declared => Self::Deny,
            Outcome::Answered(answer) => match answer.decision() {
                Decision::Allow => Self::Allow,
                Decision::Deny => Self::Deny,
            },
        }
    }
}

#[cfg(test)]
mod tests;
