//! What a secured broker has besides: listeners with SASL, with TLS, and with both, users, tokens and access rules.
//! Certificates come from whoever starts it. Called by `kafka`.

use super::error::Result;
use super::part;
use std::path::Path;

/// The user that PLAIN and both kinds of SCRAM know, and the password.
pub const USER: &str = "alice";
pub const PASSWORD: &str = "alice-secret";
const MECHANISMS: [&str; 4] = ["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"];

/// Which door of a secured broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// SASL in the clear.
    Sasl,
    /// TLS that asks for a client certificate.
    Tls,
    /// SASL within TLS.
    SaslTls,
}

impl Door {
    const ALL: [Self; 3] = [Self::Sasl, Self::Tls, Self::SaslTls];

    /// Listener, protocol, and the host it is advertised as: certificates name a host.
    const fn listener(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Sasl => ("SASL", "SASL_PLAINTEXT", "127.0.0.1"),
            Self::Tls => ("TLS", "SSL", "localhost"),
            Self::SaslTls => ("BOTH", "SASL_SSL", "localhost"),
        }
    }

    pub(super) fn address(self, ports: [u16; 3]) -> String {
        let [sasl, tls, both] = ports;
        let port = match self {
            Self::Sasl => sasl,
            Self::Tls => tls,
            Self::SaslTls => both,
        };
        format!("{}:{port}", self.listener().2)
    }
}

/// As PEM: the broker's key (PKCS#8) with its certificate, for `localhost`; and the authority whose clients it trusts.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub broker: String,
    pub authority: String,
}

/// Lines of `server.properties`; to come after those that name the plain listeners, which they replace.
pub(super) fn properties(home: &Path, certificates: &Certificates, plain: [u16; 2], ports: [u16; 3]) -> Result<String> {
    let (keys, trusted) = (home.join("broker.pem"), home.join("trusted.pem"));
    part::write(&keys, &certificates.broker)?;
    part::write(&trusted, &certificates.authority)?;
    let [open, controller] = plain;
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{open},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{open}");
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    let mut users = String::new();
    for (door, port) in Door::ALL.into_iter().zip(ports) {
        let (name, protocol, host) = door.listener();
        listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
        advertised.push_str(&format!(",{name}://{host}:{port}"));
        protocols.push_str(&format!(",{name}:{protocol}"));
        if door != Door::Tls {
            for mechanism in MECHANISMS {
                let of = format!("listener.name.{}.{mechanism}.sasl.jaas.config", name.to_lowercase());
                users.push_str(&format!("{of}={}\n", login(mechanism)));
            }
        }
    }
    Ok(format!(
        "listeners={listeners}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n{users}\
         ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.tls.ssl.client.auth=required\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\nallow.everyone.if.no.acl.found=true\n",
        keys.display(),
        trusted.display()
    ))
}

/// Kafka's own validator of unsigned tokens takes any that has not expired.
fn login(mechanism: &str) -> String {
    match mechanism {
        "plain" => {
            format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";")
        }
        "oauthbearer" => "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                          unsecuredLoginStringClaim_sub=\"broker\";"
            .to_owned(),
        _ => "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
    }
}

/// For the command that formats the storage: SCRAM's users stand there.
pub(super) fn users() -> [String; 4] {
    let of = |mechanism: &str| format!("{mechanism}=[name={USER},password={PASSWORD}]");
    ["--add-scram".to_owned(), of("SCRAM-SHA-256"), "--add-scram".to_owned(), of("SCRAM-SHA-512")]
}
