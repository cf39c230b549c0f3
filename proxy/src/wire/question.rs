//! What MinIO asked, read from the bytes it sent: the only builder of a [`Request`]. A question that an authorizer
//! might read differently is refused. Limits of size are `front`'s; signs of forging in a question that is well formed
//! are `policy::signs`'. Called by `pipeline`.
//!
//! The format is `policy.Args` of minio/pkg inside an object `input`. Every MinIO sends every member; what may be
//! absent is tolerated for older and later servers, read as what grants least, and noted in [`Request::unknown`], so
//! that two questions that differ at all never share a cache entry.

use bytes::Bytes;

use crate::policy::request::{Claims, Conditions, Request, Text, Values};
use crate::policy::verdict::Reason;
use crate::wire::strict::{self, Limits, Member, Node, StrictError};

/// LDAP users bring hundreds of groups, requests hundreds of headers; more is an attack.
const LIMITS: Limits = Limits { depth: 32, members: 4096, elements: 65_536, finite: true };

/// The members of `input` that have a meaning here, as MinIO spells them.
const KNOWN: [&str; 10] =
    ["account", "groups", "action", "originalAction", "bucket", "conditions", "owner", "object", "claims", "denyOnly"];

/// Reads a whole question. Fails with [`Reason::MalformedRequest`] or [`Reason::AmbiguousRequest`], nothing else.
pub fn read(body: Bytes) -> Result<Request, Reason> {
    let root = strict::read(&body, LIMITS).map_err(reason_of)?;
    refuse_case_variants(&root, &["input"])?;
    let input = match root.get("input") {
        Some(Member { value: value @ Node::Object(_), .. }) => value,
        _ => return Err(Reason::MalformedRequest),
    };
    refuse_case_variants(input, &KNOWN)?;
    let request = Request {
        account: plain(required(input, "account")?)?,
        groups: groups(input)?,
        action: plain(required(input, "action")?)?,
        original_action: optional(input, "originalAction").map(plain).transpose()?,
        bucket: optional(input, "bucket").map(plain).transpose()?.unwrap_or_default(),
        object: optional(input, "object").map(plain).transpose()?.unwrap_or_default(),
        owner: boolean(input, "owner")?,
        deny_only: boolean(input, "denyOnly")?,
        conditions: conditions(input)?,
        claims: claims(input, &body)?,
        unknown: unknown(&root, input, &body),
        bytes: body.clone(),
    };
    if request.action.is_empty() { Err(Reason::MalformedRequest) } else { Ok(request) }
}

fn reason_of(error: StrictError) -> Reason {
    match error {
        StrictError::DuplicateMember => Reason::AmbiguousRequest,
        StrictError::NotUtf8
        | StrictError::Syntax
        | StrictError::TrailingData
        | StrictError::TooDeep
        | StrictError::TooMany
        | StrictError::NumberRange => Reason::MalformedRequest,
    }
}

/// An authorizer in Go would take `Account` for `account`, one in another language would not.
fn refuse_case_variants(object: &Node<'_>, known: &[&str]) -> Result<(), Reason> {
    let is_variant = |name: &str| !known.contains(&name) && known.iter().any(|known| strict::folds_to(name, known));
    if object.members().iter().any(|member| is_variant(&member.name)) {
        return Err(Reason::AmbiguousRequest);
    }
    Ok(())
}

fn optional<'n, 'a>(input: &'n Node<'a>, name: &str) -> Option<&'n Node<'a>> {
    input.get(name).map(|member| &member.value)
}

fn required<'n, 'a>(input: &'n Node<'a>, name: &str) -> Result<&'n Node<'a>, Reason> {
    optional(input, name).ok_or(Reason::MalformedRequest)
}

fn text(value: &Node<'_>) -> Result<Text, Reason> {
    value.as_str().map(Text::from).ok_or(Reason::MalformedRequest)
}

/// A name. With a NUL in it, readers in C would see another one.
fn plain(value: &Node<'_>) -> Result<Text, Reason> {
    let text = text(value)?;
    if text.contains('\0') { Err(Reason::MalformedRequest) } else { Ok(text) }
}

/// Absent is false, which grants nothing.
fn boolean(input: &Node<'_>, name: &str) -> Result<bool, Reason> {
    optional(input, name).map_or(Ok(false), |value| value.as_bool().ok_or(Reason::MalformedRequest))
}

fn groups(input: &Node<'_>) -> Result<Option<Vec<Text>>, Reason> {
    match optional(input, "groups") {
        None | Some(Node::Null) => Ok(None),
        Some(value) => elements(value)?.iter().map(text).collect::<Result<_, _>>().map(Some),
    }
}

fn elements<'n, 'a>(value: &'n Node<'a>) -> Result<&'n [Node<'a>], Reason> {
    match value {
        Node::Array(elements) => Ok(elements),
        _ => Err(Reason::MalformedRequest),
    }
}

/// Not collected, as in [`conditions`]: nearly always there is one.
fn values(value: &Node<'_>) -> Result<Values, Reason> {
    let elements = elements(value)?;
    let mut values = Values::with_capacity(elements.len());
    for element in elements {
        values.push(text(element)?);
    }
    Ok(values)
}

fn conditions(input: &Node<'_>) -> Result<Conditions, Reason> {
    match optional(input, "conditions") {
        None | Some(Node::Null) => Ok(Conditions::default()),
        Some(Node::Object(members)) => {
            // Not collected, which does not know how many there will be before all of them are good.
            let mut conditions = Vec::with_capacity(members.len());
            for member in members {
                conditions.push((Text::from(&*member.name), values(&member.value)?));
            }
            Ok(conditions.into())
        }
        Some(_) => Err(Reason::MalformedRequest),
    }
}

fn claims(input: &Node<'_>, body: &Bytes) -> Result<Claims, Reason> {
    let Some(member) = input.get("claims") else { return Ok(Claims::default()) };
    let text = body.slice_ref(member.text.as_bytes());
    match &member.value {
        Node::Null => Ok(Claims { text, strings: Vec::new() }),
        Node::Object(members) => {
            let strings = members
                .iter()
                .filter_map(|claim| claim.value.as_str().map(|value| (Text::from(&*claim.name), Text::from(value))));
            Ok(Claims { text, strings: strings.collect() })
        }
        _ => Err(Reason::MalformedRequest),
    }
}

/// Everything of the question that has no field of its own, under names that cannot meet: `root.<name>` and
/// `input.<name>` for members with their JSON text, `absent.<name>` with no text for a known member that was not sent.
/// `"conditions":null`, which has no place in its field, is here as well.
fn unknown(root: &Node<'_>, input: &Node<'_>, body: &Bytes) -> Vec<(String, Bytes)> {
    let named = |prefix: &str, member: &Member<'_>| {
        (format!("{prefix}.{}", member.name), body.slice_ref(member.text.as_bytes()))
    };
    let is_null_conditions = |member: &Member<'_>| member.name == "conditions" && member.value == Node::Null;
    // What every MinIO of today sends, in this order.
    let is_usual = root.members().len() == 1 && input.members().iter().map(|member| &*member.name).eq(KNOWN);
    if is_usual && !input.members().iter().any(is_null_conditions) {
        return Vec::new();
    }
    let outer = root.members().iter().filter(|member| member.name != "input").map(|member| named("root", member));
    let inner = input
        .members()
        .iter()
        .filter(|member| !KNOWN.contains(&member.name.as_ref()) || is_null_conditions(member))
        .map(|member| named("input", member));
    let absent =
        KNOWN.iter().filter(|name| input.get(name).is_none()).map(|name| (format!("absent.{name}"), Bytes::new()));
    outer.chain(inner).chain(absent).collect()
}

#[cfg(test)]
mod tests;
