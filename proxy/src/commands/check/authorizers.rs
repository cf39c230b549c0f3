//! `check --probe`: each authorizer, asked as it is configured, and what it turns out to be.

use super::Remark;
use crate::app::parts;
use crate::authorizer::conformance::{self, Finding, Subject, Weight};
use crate::config::Config;
use crate::config::meant::{Authorizer, DenyOnly};

/// Of which its speed is told.
const QUESTIONS: usize = 200;

/// In the order of the configuration.
pub fn look(config: &Config) -> Vec<Remark> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Remark::Unknown(format!("no authorizer can be asked: {error}"))],
    };
    config.authorizers.iter().flat_map(|authorizer| runtime.block_on(of_authorizer(authorizer))).collect()
}

async fn of_authorizer(authorizer: &Authorizer) -> Vec<Remark> {
    let subject = Subject {
        options: parts::webhook_options(authorizer),
        timeout: authorizer.timeout,
        asks_deny_only: authorizer.deny_only == DenyOnly::Ask,
        questions: QUESTIONS,
    };
    match conformance::examine(&subject).await {
        Ok(findings) => findings.iter().map(|finding| remark(&authorizer.name, finding)).collect(),
        Err(error) => vec![Remark::Found { text: format!("authorizer `{}`: {error}", authorizer.name), line: None }],
    }
}

fn remark(name: &str, finding: &Finding) -> Remark {
    let text = format!("authorizer `{name}` {finding}");
    match finding.weight() {
        Weight::Fine => Remark::Fine(text),
        Weight::Matters => Remark::Found { text, line: None },
        Weight::Unknown => Remark::Unknown(text),
    }
}
