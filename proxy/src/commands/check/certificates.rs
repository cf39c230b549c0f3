//! What `check` says about certificates that are configured, without asking anybody: a file that cannot serve is a mistake,
//! one that ends soon is worth a word, and so is a store of Kafka's that could not be looked into. When each ends is also a
//! metric, by the same reading.

use crate::app::parts::{self, PartError};
use crate::certificates::{CertificateError, unix_now};
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
    let authorizers = parts::authorizer_certificates(config)?;
    let now = unix_now();
    let mut warnings: Vec<String> =
        listener.iter().chain(&authorizers).filter_map(|certificate| warning(certificate, now)).collect();
    for looked in parts::kafka_certificates(config) {
        match looked {
            Ok(certificate) => warnings.extend(warning(&certificate, now)),
            Err(error @ CertificateError::Store(_)) => warnings.push(format!(
                "kafka: a store could not be looked into, and Kafka's client judges it when it starts: {error}"
            )),
            Err(error) => return Err(PartError::Kafka(error.to_string())),
        }
    }
    Ok(warnings)
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
    use crate::config;

    #[test]
    fn a_store_that_stays_closed_is_for_kafkas_client_to_judge() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("old.p12");
        let of = |property: &str| {
            let properties =
                format!("properties = {{ \"security.protocol\" = \"ssl\", \"{property}\" = \"{}\" }}", store.display());
            let text = format!("{}{properties}\n", include_str!("../../../../config/minimal.toml"));
            look(&config::parse(&text, "c.toml", &|_| None).unwrap().config)
        };
        let missing = of("ssl.keystore.location").unwrap_err().to_string();
        assert!(missing.starts_with("kafka: `") && missing.contains("cannot be read"), "{missing}");
        std::fs::write(&store, "of a form that is not read here").unwrap();
        let warned = of("ssl.keystore.location").unwrap();
        let [told] = &warned[..] else { panic!("{warned:?}") };
        for part in ["could not be looked into", "Kafka's client judges it", "old.p12` holds no usable PKCS #12"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(of("ssl.ca.location").is_err(), "what no client takes is a mistake");
    }

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
