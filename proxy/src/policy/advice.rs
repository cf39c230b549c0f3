//! What a reason means and what to do about it, for people. The same words as the table in EVENTS.md, which a test holds; a new
//! reason does not compile without its row. Pure; used by commands.

use crate::policy::verdict::Reason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    pub meaning: &'static str,
    /// `None` for what an authorizer plainly said.
    pub what_to_do: Option<&'static str>,
}

impl Advice {
    pub const fn on(reason: Reason) -> Self {
        let (meaning, what_to_do) = match reason {
            Reason::Allowed | Reason::Denied => {
                return Self { meaning: "what the authorizers said", what_to_do: None };
            }
            Reason::Undefined => (
                "a well-formed answer without a verdict, as OPA gives for an undefined rule",
                "give the rule a default; check the path in the URL",
            ),
            Reason::MalformedAnswer => {
                ("not the JSON that was agreed on", "ask it with curl; look for a proxy's error page")
            }
            Reason::AmbiguousAnswer => (
                "a member twice, or spelled so that MinIO would read it differently",
                "mend the authorizer: MinIO alone would have guessed",
            ),
            Reason::ContradictoryAnswer => ("allow and deny in one answer", "mend the policy"),
            Reason::AnswerTooLarge => ("more than 64 KiB", "return the verdict only"),
            Reason::ContentEncoding => ("compressed, though asked not to be", "switch compression off for this path"),
            Reason::BadStatus => ("a status other than 200", "look into its log; 401 is a wrong authorizer.token"),
            Reason::Redirect => ("a redirect; never followed", "configure the final URL"),
            Reason::Timeout => {
                ("one attempt took longer than timeout", "look at its latency; raise timeout within the deadline")
            }
            Reason::Dns => ("its name did not resolve", "resolver, search path"),
            Reason::Connect => ("no connection", "is it up?"),
            Reason::Tls => ("no trusted session", "certificate, CA, server name"),
            Reason::ConnectionLost => ("the connection ended before the answer did", "crash or idle limit on its side"),
            Reason::AuthorizerBusy => {
                ("its max_in_flight was taken for as long as its timeout", "it is too slow for the load")
            }
            Reason::BreakerOpen => {
                ("it failed too often in a row and is left alone for a while", "see the faults before")
            }
            Reason::Deadline => {
                ("the whole decision took longer than listen.deadline", "fewer attempts, shorter timeouts")
            }
            Reason::Overload => ("max_in_flight was taken until the deadline", "more instances"),
            Reason::NoRoute => ("no route matched", "add a last route that matches all"),
            Reason::AuditUnavailable => ("the record could not be written", "disk: space, mode, health"),
            Reason::AuditTimeout => ("the record was not durable in time", "slow disk"),
            Reason::Internal => ("a defect of Countersign", "report it with the log"),
            Reason::MalformedRequest => ("not a question MinIO sends", "who is asking?"),
            Reason::AmbiguousRequest => ("can be read in two ways", "who is asking?"),
            Reason::RequestTooLarge => ("larger than max_body", "headers of that size are suspicious"),
            Reason::SuspiciousRequest => ("signs of forging, and suspicious = \"deny\"", "see request.suspicious"),
            Reason::Unauthorized => ("token missing or wrong", "MinIO's auth_token"),
            Reason::MethodNotAllowed | Reason::UnknownPath | Reason::UnsupportedEncoding => {
                ("not the decision endpoint, or an encoded body", "the URL MinIO was given")
            }
        };
        Self { meaning, what_to_do: Some(what_to_do) }
    }
}
