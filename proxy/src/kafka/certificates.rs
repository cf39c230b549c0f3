//! The certificates that librdkafka is told to use, looked at before it reads them itself: whether they can be read, whether
//! certificate and key belong together, and when they end. What is not looked at it refuses itself, when it starts. Called by
//! `app::parts`.

use std::path::Path;

use openssl::x509::X509;
use secrecy::ExposeSecret as _;

use crate::certificates::{CertificateError, Text, first_end, unix_now};
use crate::kafka::client::Connection;
use crate::metrics::names::CertificateUse;

/// When they end, in seconds since 1970; nothing where the properties do not ask for TLS. Each by itself: what cannot be looked
/// into says nothing of the others.
pub fn ends(connection: &Connection) -> Vec<Result<(CertificateUse, i64), CertificateError>> {
    let named = Named(connection);
    let protocol = named.value("security.protocol").unwrap_or_default();
    if !["ssl", "sasl_ssl"].iter().any(|with| protocol.eq_ignore_ascii_case(with)) {
        return Vec::new();
    }
    // An authority that has ended beside one that has not is of no interest; of our own chain any is.
    let trusted = named.authorities().map(|all| Some((CertificateUse::KafkaCa, first_end(&all?, unix_now())?)));
    let own = named.chain().map(|chain| Some((CertificateUse::KafkaClient, first_end(&chain?, 0)?)));
    [trusted, own].into_iter().filter_map(Result::transpose).collect()
}

struct Named<'c>(&'c Connection);

impl Named<'_> {
    /// Of several the last counts, as for librdkafka.
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.properties.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.expose_secret()).filter(|value| !value.is_empty())
    }

    /// `ssl.*.location`, or else `ssl.*.pem`.
    fn text(&self, kind: &str) -> Result<Option<Text>, CertificateError> {
        let pem = format!("ssl.{kind}.pem");
        match self.value(&format!("ssl.{kind}.location")) {
            // The system's own authorities are nobody's here to renew, nor are those of a directory.
            Some(place) if kind == "ca" && (place == "probe" || Path::new(place).is_dir()) => Ok(None),
            Some(path) => Text::of_file(Path::new(path)).map(Some),
            None => Ok(self.value(&pem).map(|given| Text::given(&pem, given))),
        }
    }

    /// Whom brokers must be vouched for by.
    fn authorities(&self) -> Result<Option<Vec<X509>>, CertificateError> {
        self.text("ca")?.map(|text| text.certificates()).transpose()
    }

    /// What brokers are shown, leaf first.
    fn chain(&self) -> Result<Option<Vec<X509>>, CertificateError> {
        if let Some(store) = self.value("ssl.keystore.location") {
            let password = self.value("ssl.keystore.password").unwrap_or_default();
            return Text::of_file(Path::new(store))?.store(password).map(Some);
        }
        let Some(certificate) = self.text("certificate")? else { return Ok(None) };
        let chain = certificate.certificates()?;
        if let Some(key) = self.text("key")? {
            key.key(&chain, self.value("ssl.key.password").unwrap_or_default())?;
        }
        Ok(Some(chain))
    }
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkcs12::Pkcs12;
    use openssl::pkey::{PKey, Private};
    use openssl::symm::Cipher;
    use openssl::x509::X509Builder;

    use super::*;

    const DAY: i64 = 86_400;

    fn identity(days: i64) -> (X509, PKey<Private>) {
        let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        let key = PKey::from_ec_key(key).unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(unix_now() + days * DAY).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (builder.build(), key)
    }

    fn pem(text: Vec<u8>) -> String {
        String::from_utf8(text).unwrap()
    }

    fn with(properties: &[(&str, &str)]) -> Connection {
        let properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect();
        Connection { brokers: Vec::new(), properties, client_id: String::new() }
    }

    /// In days, or what is wrong with the first one that something is wrong with.
    fn found(properties: &[(&str, &str)]) -> Result<Vec<(CertificateUse, i64)>, String> {
        let days = |end: i64| ((end - unix_now()) as f64 / DAY as f64).round() as i64;
        let looked = ends(&with(properties)).into_iter();
        looked.map(|end| end.map(|(used, end)| (used, days(end))).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn what_librdkafka_is_told_to_use_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let ((authority, _), (own, key), (_, other)) = (identity(40), identity(5), identity(5));
        let ca = write("ca.pem", &authority.to_pem().unwrap());
        let certificate = write("own.pem", &own.to_pem().unwrap());
        let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open").unwrap();
        let (locked, fits) = (write("locked.pem", &locked), pem(key.private_key_to_pem_pkcs8().unwrap()));
        let other = pem(other.private_key_to_pem_pkcs8().unwrap());
        let store = Pkcs12::builder().name("own").pkey(&key).cert(&own).build2("open").unwrap();
        let store = write("own.p12", &store.to_der().unwrap());

        let tls = ("security.protocol", "sasl_SSL");
        let (trusted, shown) = ((CertificateUse::KafkaCa, 40), (CertificateUse::KafkaClient, 5));
        let (ca, certificate) = (("ssl.ca.location", ca.as_str()), ("ssl.certificate.location", certificate.as_str()));
        let (locked, password) = (("ssl.key.location", locked.as_str()), ("ssl.key.password", "open"));
        assert_eq!(found(&[ca, certificate]), Ok(vec![]), "without TLS nothing of it is read");
        assert_eq!(found(&[tls]), Ok(vec![]));
        assert_eq!(found(&[tls, ca]), Ok(vec![trusted]));
        assert_eq!(found(&[tls, ca, certificate, locked, password]), Ok(vec![trusted, shown]));
        assert_eq!(found(&[tls, certificate, ("ssl.key.pem", &fits)]), Ok(vec![shown]));
        let store = ("ssl.keystore.location", store.as_str());
        assert_eq!(found(&[tls, store, ("ssl.keystore.password", "open")]), Ok(vec![shown]));
        for (properties, why) in [
            (&[tls, certificate, ("ssl.key.pem", &other)][..], "the key in `ssl.key.pem` does not belong"),
            (&[tls, certificate, locked], "no usable PEM private key"),
            (&[tls, certificate, locked, ("ssl.key.password", "opem")], "no usable PEM private key"),
            (&[tls, ("ssl.ca.pem", "nothing")], "`ssl.ca.pem` holds no usable PEM certificate"),
            (&[tls, ("ssl.ca.location", "/nowhere/ca.pem")], "`/nowhere/ca.pem` cannot be read"),
            (&[tls, store, ("ssl.keystore.password", "opem")], "needs another password"),
        ] {
            let said = found(properties).unwrap_err();
            assert!(said.contains(why) && !said.contains("open") && !said.contains("PRIVATE"), "{said}");
        }
        let looked = ends(&with(&[tls, ca, store]));
        let one_by_one = matches!(&looked[..], [Ok((CertificateUse::KafkaCa, _)), Err(CertificateError::Store(_))]);
        assert!(one_by_one, "a store that stays closed hides no authority: {looked:?}");
        for system in ["probe", &directory.path().display().to_string()] {
            assert_eq!(found(&[tls, ("ssl.ca.location", system)]), Ok(vec![]), "{system}");
        }
    }
}
