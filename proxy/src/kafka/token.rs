//! Tokens for SASL OAUTHBEARER. librdkafka asks for one while a client is polled, and again before it expires; the property
//! `sasl.oauthbearer.config` says where it is. Fetching tokens from an identity provider is somebody else's work: an agent
//! or a Kubernetes projected token keeps a file fresh.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::small_file::content;

/// The property's value is this and a path, which is read again for every token; or the token itself.
const FILE: &str = "token_file=";
/// What says nothing of its own end is read again after this long.
const OPAQUE: Duration = Duration::from_secs(300);
/// The end of the year 9999, in seconds since 1970. For us, what ends later ends then: librdkafka counts in microseconds.
const LATEST: f64 = 253_402_300_799.0;
/// Of a file that is a token (bytes).
const LONGEST: u64 = 64 << 10;

#[derive(Debug, Default, Deserialize)]
struct Claims {
    /// Seconds since 1970.
    exp: Option<f64>,
    sub: Option<String>,
}

/// Errors end up in the log and as `authentication`; none has a byte of the token.
pub(super) fn current(config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    let config = config.map(str::trim).filter(|text| !text.is_empty());
    let config = config.ok_or("`sasl.oauthbearer.config` is not set: `token_file=PATH`, or the token")?;
    let (place, token) = match config.strip_prefix(FILE) {
        Some(path) => (format!("the token in `{path}`"), read(path)?),
        None => ("the token of `sasl.oauthbearer.config`".to_owned(), config.to_owned()),
    };
    Ok(named(token, SystemTime::now()).map_err(|why| format!("{place} {why}"))?)
}

fn read(path: &str) -> Result<String, String> {
    let content =
        content(Path::new(path), LONGEST).map_err(|error| format!("cannot read the token file `{path}`: {error}"))?;
    let text = std::str::from_utf8(&content).map_err(|_| format!("the token file `{path}` is not text"))?;
    Ok(text.trim().to_owned())
}

fn named(token: String, now: SystemTime) -> Result<OAuthToken, &'static str> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is none: a token is printable text without spaces");
    }
    let claims = claims(&token).unwrap_or_default();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = match claims.exp {
        Some(seconds) => Duration::try_from_secs_f64(seconds.clamp(0.0, LATEST)).unwrap_or_default(),
        None => now + OPAQUE,
    };
    if end <= now {
        return Err("has expired; something should have renewed it");
    }
    Ok(OAuthToken {
        token,
        // For librdkafka's log alone: brokers take the name from the token.
        principal_name: claims.sub.filter(|name| !name.contains('\0')).unwrap_or_else(|| "countersign".to_owned()),
        lifetime_ms: i64::try_from(end.as_millis()).unwrap_or(i64::MAX),
    })
}

/// Of a JWT, unverified: only who has it and until when; `None` for what is none.
fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.", URL_SAFE_NO_PAD.encode(claims))
    }

    fn error(config: Option<&str>) -> String {
        current(config).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_jwt_says_who_has_it_and_how_long() {
        let token = current(Some(&jwt(r#"{"sub":"alice","exp":4000000000}"#))).unwrap();
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("alice", 4_000_000_000_000));
        for past in ["1000000000", "-1", "-1e300"] {
            let said = error(Some(&jwt(&format!(r#"{{"sub":"alice","exp":{past}}}"#))));
            assert!(said.contains("expired"), "{said}");
        }
        let token = current(Some(&jwt(r#"{"exp":1e300}"#))).unwrap();
        assert_eq!(token.lifetime_ms, 253_402_300_799_000, "it has not expired");
    }

    #[test]
    fn what_is_opaque_is_read_again_soon() {
        let token = current(Some("opaque-token")).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!((now + 200_000..now + 400_000).contains(&token.lifetime_ms));
        assert_eq!(token.token, "opaque-token");
    }

    #[test]
    fn a_file_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = format!("token_file={}", file.path().display());
        assert!(error(Some(&config)).contains("is none"));
        for text in ["first", "second"] {
            std::fs::write(file.path(), format!("{text}\n")).unwrap();
            assert_eq!(current(Some(&config)).unwrap().token, text);
        }
        assert!(error(Some("token_file=/does/not/exist")).contains("`/does/not/exist`"));
        assert!(error(Some("token_file=/dev/zero")).contains("not a regular file"));
        assert!(error(None).contains("token_file="));
        let said = error(Some("se cret"));
        assert!(!said.contains("cret"), "{said}");
    }
}
