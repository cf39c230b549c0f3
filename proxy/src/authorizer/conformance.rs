//! What an authorizer is, found out by asking it: the questions of `check --probe`, over the very connection, token and
//! dialect that are configured. It changes nothing but the authorizer's own log, in which its questions bear the account
//! [`ACCOUNT`]. Redirects are not followed. Not what is printed of a configuration; called by `commands::check`.

mod finding;
mod questions;
mod speed;

use std::time::Duration;

use crate::authorizer::webhook::{Dialect, Options, Probed, Webhook, WebhookError};
use crate::policy::verdict::{Decision, Reason};
use crate::wire::lax::{self, Lax, Shape};
pub use finding::{Finding, Weight};
pub use questions::ACCOUNT;
use questions::{Kind, NONSENSE};

/// What is probed.
#[derive(Debug, Clone)]
pub struct Subject {
    pub options: Options,
    /// One attempt, as configured.
    pub timeout: Duration,
    /// It is asked questions with `denyOnly`, too.
    pub asks_deny_only: bool,
    /// Questions of the measurement.
    pub questions: usize,
}

/// One question and what came of it.
struct Told {
    kind: Kind,
    probed: Probed,
}

impl Told {
    fn decision(&self) -> Option<Decision> {
        self.probed.outcome.as_ref().ok().map(crate::wire::answer::Answer::decision)
    }

    fn allows(&self) -> bool {
        self.decision() == Some(Decision::Allow)
    }

    /// What MinIO would have made of it alone. `None` where nothing whole arrived, or where it would have asked elsewhere.
    fn minio(&self) -> Option<Lax> {
        let body = self.probed.body.as_ref().filter(|_| self.probed.outcome != Err(Reason::Redirect))?;
        // Go asks for no compression and undoes none.
        Some(if self.probed.outcome == Err(Reason::ContentEncoding) { Lax::Error } else { lax::read(body) })
    }
}

/// Asks, and says what it is; the findings in the order in which they are worth reading.
pub async fn examine(subject: &Subject) -> Result<Vec<Finding>, WebhookError> {
    let webhook = Webhook::new(subject.options.clone())?;
    // Longer than one attempt may take: a slow authorizer is to be measured, not only to be called slow.
    let limit = (subject.timeout * 4).max(Duration::from_secs(2));
    let mut told = Vec::new();
    for kind in Kind::ALL {
        if kind.deny_only() && !subject.asks_deny_only {
            continue;
        }
        let probed = webhook.probe(&questions::body(kind, subject.options.dialect), limit).await;
        if told.is_empty()
            && let Err(reason @ (Reason::Dns | Reason::Connect | Reason::Tls)) = &probed.outcome
        {
            return Ok(vec![Finding::Unreachable(*reason)]);
        }
        told.push(Told { kind, probed });
    }
    let mut findings = vec![shapes(subject, &told)];
    findings.extend(without_a_verdict(&told));
    findings.extend(differing(&told));
    findings.extend(unknown_account(&told));
    findings.extend(deny_only(subject, &told));
    findings.extend(nonsense(&webhook, limit).await);
    findings.extend(token(subject, limit).await?);
    if told.iter().any(|told| told.probed.outcome.is_ok()) {
        findings.push(speed::measured(&webhook, subject, limit).await);
    }
    Ok(findings)
}

/// The form of its verdicts.
fn shapes(subject: &Subject, told: &[Told]) -> Finding {
    let bodies = told.iter().filter_map(|told| told.probed.body.as_ref());
    let mut shapes: Vec<Shape> = bodies.map(|body| lax::shape(body)).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let says = |shape: &Shape| matches!(shape, Shape::Bool | Shape::Object | Shape::Decision);
    let statuses = told.iter().filter_map(|told| told.probed.status);
    let by_status = statuses.clone().any(|status| status == 200) && statuses.clone().any(|status| status == 403);
    match shapes.iter().copied().find(says) {
        Some(Shape::Decision) if subject.options.dialect == Dialect::Minio => Finding::OtherDialect,
        Some(_) => Finding::Shapes(shapes.into_iter().filter(says).collect()),
        None if by_status && shapes.contains(&Shape::None) => Finding::ByStatus,
        None => Finding::NoVerdict,
    }
}

/// What it has no rule for, or fails at: by reason, the kinds of question.
fn without_a_verdict(told: &[Told]) -> Vec<Finding> {
    let faults = told.iter().filter(|told| told.minio().is_none_or(|minio| minio != Lax::Allow));
    grouped(faults, |told| told.probed.outcome.as_ref().err().map(|reason| (*reason, told.probed.status)))
        .into_iter()
        .map(|((reason, status), kinds)| Finding::Fault { reason, status, kinds })
        .collect()
}

/// Where MinIO asking directly would allow, and we deny.
fn differing(told: &[Told]) -> Vec<Finding> {
    let only_minio = told.iter().filter(|told| told.minio() == Some(Lax::Allow));
    grouped(only_minio, |told| told.probed.outcome.as_ref().err().map(|reason| (*reason, told.probed.status)))
        .into_iter()
        .map(|((reason, status), kinds)| Finding::OnlyMinio { reason, status, kinds })
        .collect()
}

/// Kinds by what they have in common, in the order of their first; those without are left out.
fn grouped<'t, G: PartialEq>(
    told: impl Iterator<Item = &'t Told>,
    group: impl Fn(&Told) -> Option<G>,
) -> Vec<(G, Vec<Kind>)> {
    let mut groups: Vec<(G, Vec<Kind>)> = Vec::new();
    for told in told {
        let Some(of) = group(told) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == of) {
            Some((_, kinds)) => kinds.push(told.kind),
            None => groups.push((of, vec![told.kind])),
        }
    }
    groups
}

/// Nobody knows the account that asks: what it is allowed, everybody is.
fn unknown_account(told: &[Told]) -> Option<Finding> {
    let allowed = told.iter().filter(|told| told.allows() && !told.kind.deny_only() && told.kind != Kind::Root);
    let kinds: Vec<Kind> = allowed.map(|told| told.kind).collect();
    (!kinds.is_empty()).then_some(Finding::AllowsNobody(kinds))
}

/// A plain question and the same with `denyOnly`: who honours it lets pass what nothing forbids.
fn deny_only(subject: &Subject, told: &[Told]) -> Option<Finding> {
    if !subject.asks_deny_only {
        return Some(Finding::DenyOnlyNotAsked);
    }
    let of = |kind: Kind| told.iter().find(|told| told.kind == kind).and_then(Told::decision);
    let pairs = Kind::PAIRS.iter().filter_map(|(plain, deny_only)| of(*plain).zip(of(*deny_only)));
    let mut found = None;
    for pair in pairs {
        match pair {
            (Decision::Deny, Decision::Allow) => return Some(Finding::HonoursDenyOnly),
            (Decision::Deny, Decision::Deny) => found = Some(Finding::IgnoresDenyOnly),
            (Decision::Allow, Decision::Deny) => return Some(Finding::InvertsDenyOnly),
            (Decision::Allow, Decision::Allow) => found = found.or(Some(Finding::DenyOnlyUnknown)),
        }
    }
    found
}

async fn nonsense(webhook: &Webhook, limit: Duration) -> Option<Finding> {
    let mut answered = None;
    for body in NONSENSE {
        let probed = webhook.probe(body.as_bytes(), limit).await;
        if probed.outcome.as_ref().is_ok_and(|answer| answer.decision() == Decision::Allow) {
            return Some(Finding::AllowsNonsense(body));
        }
        if probed.status == Some(200) {
            answered = answered.or(Some(body));
        }
    }
    Some(answered.map_or(Finding::RefusesNonsense, Finding::AnswersNonsense))
}

/// The same question without the token that is configured.
async fn token(subject: &Subject, limit: Duration) -> Result<Option<Finding>, WebhookError> {
    if subject.options.token.is_none() {
        return Ok(None);
    }
    let webhook = Webhook::new(Options { token: None, ..subject.options.clone() })?;
    let probed = webhook.probe(&questions::body(Kind::Read, subject.options.dialect), limit).await;
    Ok(Some(match probed.outcome {
        Ok(_) => Finding::IgnoresToken,
        Err(_) => Finding::AsksForToken(probed.status),
    }))
}
