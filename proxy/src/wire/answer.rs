//! What an authorizer said, or why it said nothing usable: the two result formats MinIO knows, read so that whatever
//! we take for an allow MinIO would have taken for one as well. Not the connection to the authorizer, whose faults
//! have reasons of their own. Called by `authorizer`.

use crate::policy::verdict::{Decision, Reason};
use crate::wire::strict::{self, Limits, Node, StrictError};

/// An answer is at most this long (bytes).
pub const MAX_ANSWER: usize = 64 * 1024;

/// `decision_id` and `revision` are at most this long (characters, all ASCII).
const MAX_ID: usize = 128;

const LIMITS: Limits = Limits { depth: 32, members: 4096, elements: MAX_ANSWER, finite: false };

/// A verdict that an authorizer really gave. Fields are private: only [`read`] and [`read_authzen`] build one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    decision: Decision,
    decision_id: Option<Box<str>>,
    revision: Option<Box<str>>,
    message: Option<Box<str>>,
}

impl Answer {
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// The same without what the authorizer said beside it.
    pub fn verdict(&self) -> Self {
        Self { decision: self.decision, decision_id: None, revision: None, message: None }
    }

    /// OPA's `decision_id`, if it is printable ASCII and at most 128 characters.
    pub fn decision_id(&self) -> Option<&str> {
        self.decision_id.as_deref()
    }

    /// The revision of OPA's policy bundle (`provenance`, sent when asked for with `?provenance=true`), if there is
    /// exactly one and it is printable ASCII and at most 128 characters.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Why, in the authorizer's words: `context.reason` of an AuthZEN answer. Whole, without control and
    /// formatting characters; the record cuts it or hides it. Never from dialect `minio`, whose authorizers are sent secrets that they could repeat.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

/// Reads a whole answer. `location` says whether a `Location` header was sent; `body` must be complete.
///
/// Only status 200 decides. Redirects are not followed: MinIO would follow them, and one to a host that allows is an
/// allow nobody decided.
pub fn read(status: u16, content_encoding: Option<&str>, location: bool, body: &[u8]) -> Result<Answer, Reason> {
    let root = document(status, content_encoding, location, body)?;
    let decision = verdict(&root)?;
    Ok(Answer { decision, decision_id: decision_id(&root), revision: revision(&root), message: None })
}

/// The same for an answer of the OpenID AuthZEN Authorization API 1.0: `{"decision":<bool>,…}`.
pub fn read_authzen(
    status: u16,
    content_encoding: Option<&str>,
    location: bool,
    body: &[u8],
) -> Result<Answer, Reason> {
    let root = document(status, content_encoding, location, body)?;
    refuse_case_variants(&root, &["decision"])?;
    let decision = match member_verdict(&root, "decision")? {
        true if contradicts(&root) => return Err(Reason::ContradictoryAnswer),
        true => Decision::Allow,
        false => Decision::Deny,
    };
    Ok(Answer { decision, decision_id: decision_id(&root), revision: None, message: message(&root) })
}

/// What every dialect asks for: an object, whole, at the right status, and without a member twice.
fn document<'b>(
    status: u16,
    content_encoding: Option<&str>,
    location: bool,
    body: &'b [u8],
) -> Result<Node<'b>, Reason> {
    match status {
        200 => {}
        300..=399 if location => return Err(Reason::Redirect),
        _ => return Err(Reason::BadStatus),
    }
    if !content_encoding.is_none_or(is_identity) {
        return Err(Reason::ContentEncoding);
    }
    if body.len() > MAX_ANSWER {
        return Err(Reason::AnswerTooLarge);
    }
    match strict::read(body, LIMITS).map_err(reason_of)? {
        root @ Node::Object(_) => Ok(root),
        Node::Null => Err(Reason::Undefined),
        _ => Err(Reason::MalformedAnswer),
    }
}

/// Also `identity` several times, and an empty header.
fn is_identity(content_encoding: &str) -> bool {
    content_encoding
        .split(',')
        .map(str::trim)
        .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

fn reason_of(error: StrictError) -> Reason {
    match error {
        StrictError::DuplicateMember => Reason::AmbiguousAnswer,
        StrictError::NotUtf8
        | StrictError::Syntax
        | StrictError::TrailingData
        | StrictError::TooDeep
        | StrictError::TooMany
        | StrictError::NumberRange => Reason::MalformedAnswer,
    }
}

/// The members by which MinIO reads a verdict.
const NAMES: [&str; 2] = ["result", "allow"];

fn verdict(root: &Node<'_>) -> Result<Decision, Reason> {
    refuse_case_variants(root, &NAMES)?;
    let result = root.get("result").map_or(&Node::Null, |member| &member.value);
    let allowed = if let Node::Object(_) = result {
        refuse_case_variants(result, &NAMES)?;
        member_verdict(result, "allow")?
    } else {
        member_verdict(root, "result")?
    };
    if !allowed {
        // Whatever stands beside it: a deny read as a fault could be asked again elsewhere, and become an allow.
        return Ok(Decision::Deny);
    }
    if contradicts(root) || contradicts(result) {
        return Err(Reason::ContradictoryAnswer);
    }
    Ok(Decision::Allow)
}

/// A boolean; absent and null are no verdict.
fn member_verdict(object: &Node<'_>, name: &str) -> Result<bool, Reason> {
    match object.get(name).map(|member| &member.value) {
        Some(Node::Bool(allowed)) => Ok(*allowed),
        None | Some(Node::Null) => Err(Reason::Undefined),
        Some(_) => Err(Reason::MalformedAnswer),
    }
}

/// MinIO matches names whatever their case, and the last one wins.
fn refuse_case_variants(object: &Node<'_>, known: &[&str]) -> Result<(), Reason> {
    let is_variant = |name: &str| known.iter().any(|known| name != *known && strict::folds_to(name, known));
    if object.members().iter().any(|member| is_variant(&member.name)) {
        return Err(Reason::AmbiguousAnswer);
    }
    Ok(())
}

/// Whether an object that says allow elsewhere says deny as well, in a member MinIO would not look at.
fn contradicts(object: &Node<'_>) -> bool {
    let says = |name, value| object.get(name).is_some_and(|member| member.value == Node::Bool(value));
    says("deny", true) || says("allow", false) || says("result", false)
}

fn decision_id(root: &Node<'_>) -> Option<Box<str>> {
    root.get("decision_id").and_then(|member| printable(&member.value))
}

fn revision(root: &Node<'_>) -> Option<Box<str>> {
    let provenance = &root.get("provenance")?.value;
    if let Some([bundle]) = provenance.get("bundles").map(|bundles| bundles.value.members()) {
        return bundle.value.get("revision").and_then(|member| printable(&member.value));
    }
    provenance.get("revision").and_then(|member| printable(&member.value))
}

fn message(root: &Node<'_>) -> Option<Box<str>> {
    let text = root.get("context")?.value.get("reason")?.value.as_str()?;
    let fits = !text.trim().is_empty() && !text.chars().any(is_invisible);
    fits.then(|| text.into())
}

/// What a terminal would act upon, or what would make a reader see another text than there is.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Free text of an authorizer ends here: it could repeat the question, secrets included.
fn printable(value: &Node<'_>) -> Option<Box<str>> {
    let text = value.as_str()?;
    let fits = !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests;
