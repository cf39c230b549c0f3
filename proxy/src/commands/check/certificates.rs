//! What `check` says about certificates that are configured, without asking anybody: a file that cannot serve is a mistake,
//! one that ends soon is worth a word. When each ends is also a metric, by the same reading.

use crate::app::parts::{self, PartError};
use crate::certificates::unix_now;
use crate::config::Config;
use crate::metrics::Certificate;
use crate::metrics::names::CertificateUse;

const SECONDS_A_DAY: i64 = 86_400;
/// Within so many days.
const SOON_DAYS: i64 = 30;

/// Of the decision endpoint, of authorizers and of Kafka.
pub fn look(config: &Config) -> Result<Vec<String>, PartError> {
    let secure = parts::secure(config)?;
    let listener = parts::listener_certificate(config, secure.as_deref());
    let others = [parts::authorizer_certificates(config)?, parts::kafka_certificates(config)?].concat();
    let now = unix_now();
    Ok(listener.iter().chain(&others).filter_map(|certificate| warning(certificate, now)).collect())
}

fn warning(certificate: &Certificate, now: i64) -> Option<String> {
    let name = &certificate.name;
    let (which, follows) = match certificate.used {
        CertificateUse::Listener => ("`listen.tls.certificate`".to_owned(), "MinIO will not ask, and denies everybody"),
        CertificateUse::AuthorizerCa => {
            (format!("`tls.ca` of authorizer `{name}`"), "it is not trusted, and what it is asked is denied")
        }
        CertificateUse::AuthorizerClient => {
            (format!("`tls.certificate` of authorizer `{name}`"), "where it is looked at, what is asked is denied")
        }
        CertificateUse::KafkaCa => {
            ("the authority in `kafka.properties`".to_owned(), "no broker is trusted, and nothing is published")
        }
        CertificateUse::KafkaClient => {
            ("the certificate in `kafka.properties`".to_owned(), "where brokers look at it, nothing is published")
        }
    };
    match (certificate.ends - now).div_euclid(SECONDS_A_DAY) {
        ..0 => Some(format!("{which} has ended: {follows}")),
        days @ 0..SOON_DAYS => Some(format!("{which} ends in {days} days")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_named_and_what_follows() {
        let said = |used, days: i64| {
            let ends = 1_800_000_000 + days * SECONDS_A_DAY;
            warning(&Certificate { used, name: "opa".to_owned(), ends }, 1_800_000_000)
        };
        assert_eq!(said(CertificateUse::AuthorizerCa, 30), None);
        let soon = said(CertificateUse::AuthorizerCa, 29).unwrap();
        assert_eq!(soon, "`tls.ca` of authorizer `opa` ends in 29 days");
        assert_eq!(
            said(CertificateUse::KafkaClient, 0).unwrap(),
            "the certificate in `kafka.properties` ends in 0 days"
        );
        let ended = said(CertificateUse::KafkaCa, -1).unwrap();
        assert_eq!(
            ended,
            "the authority in `kafka.properties` has ended: no broker is trusted, and nothing is published"
        );
    }
}
