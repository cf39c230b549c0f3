//! How what a shadow says differs from what was decided. Pure, and without consequence: nothing here answers anybody. The
//! words are members of records and labels of metrics. Called by `decide::shadow` and by `commands::replay`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::policy::decided::Outcome;
use crate::policy::verdict::Decision;

/// Closed: every comparison ends as exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Both say the same.
    None,
    /// It was denied, and the shadow allows.
    WouldAllow,
    /// It was allowed, and the shadow denies.
    WouldDeny,
    /// The shadow gave no verdict: if it decided, the question would be denied for its fault.
    Fault,
    /// Nothing to compare with: those that decide gave no verdict.
    Undecided,
    /// The shadow was not asked, because too many questions to it were under way.
    Dropped,
}

impl Difference {
    pub const ALL: [Self; 6] =
        [Self::None, Self::WouldAllow, Self::WouldDeny, Self::Fault, Self::Undecided, Self::Dropped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WouldAllow => "would_allow",
            Self::WouldDeny => "would_deny",
            Self::Fault => "fault",
            Self::Undecided => "undecided",
            Self::Dropped => "dropped",
        }
    }

    pub fn between(decided: &Outcome, shadow: &Outcome) -> Self {
        match (decided, shadow) {
            (Outcome::Fault(_), _) => Self::Undecided,
            (Outcome::Answered(_) | Outcome::Declared, Outcome::Fault(_)) => Self::Fault,
            (Outcome::Answered(_) | Outcome::Declared, Outcome::Answered(_) | Outcome::Declared) => {
                Self::of(decided.decision(), shadow.decision())
            }
        }
    }

    /// Of two verdicts.
    pub const fn of(decided: Decision, shadow: Decision) -> Self {
        match (decided, shadow) {
            (Decision::Allow, Decision::Allow) | (Decision::Deny, Decision::Deny) => Self::None,
            (Decision::Deny, Decision::Allow) => Self::WouldAllow,
            (Decision::Allow, Decision::Deny) => Self::WouldDeny,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::verdict::Reason;
    use crate::wire::answer;

    #[test]
    fn the_words_in_json_are_the_words_elsewhere() {
        for difference in Difference::ALL {
            assert_eq!(serde_json::to_value(difference).unwrap(), difference.as_str());
        }
    }

    #[test]
    fn every_pair_has_its_word() {
        let said = |body: &str| Outcome::Answered(answer::read(200, None, false, body.as_bytes()).unwrap());
        let (yes, no) = (|| said(r#"{"result":true}"#), || said(r#"{"result":false}"#));
        let fault = || Outcome::Fault(Reason::Timeout);
        for (decided, shadow, expected) in [
            (yes(), yes(), Difference::None),
            (no(), no(), Difference::None),
            (Outcome::Declared, no(), Difference::None),
            (no(), Outcome::Declared, Difference::None),
            (no(), yes(), Difference::WouldAllow),
            (Outcome::Declared, yes(), Difference::WouldAllow),
            (yes(), no(), Difference::WouldDeny),
            (yes(), Outcome::Declared, Difference::WouldDeny),
            (yes(), fault(), Difference::Fault),
            (no(), fault(), Difference::Fault),
            (fault(), yes(), Difference::Undecided),
            (fault(), no(), Difference::Undecided),
            (fault(), fault(), Difference::Undecided),
        ] {
            assert_eq!(Difference::between(&decided, &shadow), expected, "{decided:?} {shadow:?}");
        }
    }
}
