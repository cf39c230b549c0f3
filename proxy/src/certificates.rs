//! Reads certificates and keys, and says when they end. Not what they are good for: whom an authorizer's certificate must
//! name is `authorizer::tls`, what the decision endpoint shows is `front::secure`, what librdkafka will read is
//! `kafka::certificates`. Called by these, and for its clock and its errors by `check`; `config` looks whether such a file can be
//! read, under the same limit.

use std::io;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use secrecy::zeroize::Zeroizing;

use crate::small_file;

/// Of a file with certificates, keys or a store: far above a system's bundle of all authorities (bytes).
pub const LARGEST: u64 = 4 << 20;

/// Why a file cannot serve. Names the file and nothing of what it holds.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("`{}` cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("`{}` holds no usable {what}", path.display())]
    Unusable { path: PathBuf, what: &'static str },
    #[error("the key in `{}` does not belong to the certificate", .0.display())]
    WrongKey(PathBuf),
    /// Whoever is to use it may know forms that are not read here: old ciphers, for one, which OpenSSL has left out.
    #[error("`{}` holds no usable PKCS #12 store, or needs another password", .0.display())]
    Store(PathBuf),
}

/// What a file or a setting holds, and its name for messages. Wiped when it goes, for it may be a key.
pub struct Text {
    from: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl Text {
    pub fn of_file(path: &Path) -> Result<Self, CertificateError> {
        let bytes = small_file::content(path, LARGEST)
            .map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })?;
        Ok(Self { from: path.to_owned(), bytes })
    }

    /// Written out in a setting.
    pub fn given(setting: &str, text: &str) -> Self {
        Self { from: setting.into(), bytes: Zeroizing::new(text.as_bytes().to_vec()) }
    }

    fn unusable(&self, what: &'static str) -> CertificateError {
        CertificateError::Unusable { path: self.from.clone(), what }
    }

    /// Every certificate, at least one.
    pub fn certificates(&self) -> Result<Vec<X509>, CertificateError> {
        let found = X509::stack_from_pem(&self.bytes).unwrap_or_default();
        if found.is_empty() { Err(self.unusable("PEM certificate")) } else { Ok(found) }
    }

    /// The key that belongs to the first certificate of `chain`. `password` opens it where it is locked; without one it
    /// is refused, for OpenSSL would ask whoever sits at the terminal.
    pub fn key(&self, chain: &[X509], password: &str) -> Result<PKey<Private>, CertificateError> {
        let private: PKey<Private> = PKey::private_key_from_pem_passphrase(&self.bytes, password.as_bytes())
            .map_err(|_| self.unusable("PEM private key"))?;
        let leaf = chain.first().and_then(|leaf| leaf.public_key().ok());
        if !leaf.is_some_and(|leaf| leaf.public_eq(&private)) {
            return Err(CertificateError::WrongKey(self.from.clone()));
        }
        Ok(private)
    }

    /// The chain in a PKCS #12 store that has a key as well, leaf first.
    pub fn store(&self, password: &str) -> Result<Vec<X509>, CertificateError> {
        let unusable = || CertificateError::Store(self.from.clone());
        let store = Pkcs12::from_der(&self.bytes).and_then(|store| store.parse2(password)).map_err(|_| unusable())?;
        let (Some(leaf), Some(_)) = (store.cert, store.pkey) else { return Err(unusable()) };
        Ok(std::iter::once(leaf).chain(store.ca.into_iter().flatten()).collect())
    }
}

/// Every certificate of a PEM file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<X509>, CertificateError> {
    Text::of_file(path)?.certificates()
}

/// The first end after `now`; if there is none, the last one. Seconds since 1970.
pub fn first_end(certificates: &[X509], now: i64) -> Option<i64> {
    let ends: Vec<i64> = certificates.iter().filter_map(|one| unix(one.not_after())).collect();
    let to_come = ends.iter().copied().filter(|end| *end > now).min();
    to_come.or(ends.into_iter().max())
}

fn unix(time: &Asn1TimeRef) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A chain, leaf first, and the key that belongs to it.
pub fn pair(certificate: &Path, key: &Path) -> Result<(Vec<X509>, PKey<Private>), CertificateError> {
    let chain = certificates(certificate)?;
    let private = Text::of_file(key)?.key(&chain, "")?;
    Ok((chain, private))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn ending(days: i64) -> X509 {
        let mut builder = X509::builder().unwrap();
        builder.set_not_after(&Asn1Time::from_unix(unix_now() + days * DAY).unwrap()).unwrap();
        builder.build()
    }

    #[test]
    fn nothing_is_waited_for_or_read_without_end() {
        let said = |path: &Path| Text::of_file(path).err().unwrap().to_string();
        for odd in ["/dev/zero", "/"] {
            assert_eq!(said(Path::new(odd)), format!("`{odd}` cannot be read: not a regular file"));
        }
        let large = tempfile::NamedTempFile::new().unwrap();
        large.as_file().set_len(LARGEST + 1).unwrap();
        assert!(said(large.path()).ends_with("longer than 4096 KiB"));
    }

    #[test]
    fn the_first_end_counts() {
        let of = |days: &[i64]| -> Vec<X509> { days.iter().copied().map(ending).collect() };
        let days = |end: Option<i64>| ((end.unwrap() - unix_now()) as f64 / DAY as f64).round() as i64;
        assert_eq!(days(first_end(&of(&[900, 3, 90]), unix_now())), 3);
        assert_eq!(days(first_end(&of(&[-5, 90]), unix_now())), 90, "an old authority beside a good one");
        assert_eq!(days(first_end(&of(&[-5, -9]), unix_now())), -5, "nothing good is left");
        assert_eq!(days(first_end(&of(&[-5, 90]), 0)), -5, "our own chain is broken");
        assert_eq!(first_end(&[], 0), None);
        assert_eq!(unix(&Asn1Time::from_unix(1_800_000_123).unwrap()), Some(1_800_000_123));
    }
}
