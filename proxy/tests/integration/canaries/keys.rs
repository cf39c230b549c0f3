//! The secrets of the configuration itself: tokens, keys of TLS on all three sides, passwords, the keys that sign and that make
//! pseudonyms. All are in use at once, over real connections; then every sink is searched, and what commands say of them.

use std::path::Path;
use std::process::Command;

use countersign::audit::note;
use loadtest::laboratory::kafka::{Certificates, Door, Kafka, PASSWORD, USER};
use loadtest::laboratory::{Laboratory, require};
use openssl::symm::Cipher;

use super::{assert_clean, canary, spool_bytes};
use crate::authorizer::encrypted::{self, Identity};
use crate::hostile::frames::Good;
use crate::secure::House;
use crate::support::stand::{TOPIC, in_kafka};
use crate::support::{Countersign, Running, binary};
use crate::telemetry::collector::{Collector, Manner};

const CHECKPOINTS: &str = "countersign.checkpoints";

/// What there is to be kept: bytes of keys, lines of their files, and texts.
struct Secrets {
    all: Vec<Vec<u8>>,
    next: usize,
}

impl Secrets {
    fn text(&mut self) -> String {
        self.next += 1;
        let text = canary(self.next).repeat(3);
        self.all.push(canary(self.next).into_bytes());
        text
    }

    /// Writes certificate and key to `name.crt` and `name.key`, locked if there is a password.
    fn pair(&mut self, directory: &Path, name: &str, identity: &Identity, password: Option<&str>) {
        let (_, file) = identity.write(directory, name);
        if let Some(password) = password {
            let locked = identity.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes());
            std::fs::write(&file, locked.unwrap()).unwrap();
        }
        self.key(identity);
    }

    fn key(&mut self, identity: &Identity) {
        self.all.push(identity.key.ec_key().unwrap().private_key().to_vec_padded(32).unwrap());
        let pem = String::from_utf8(identity.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        self.all.extend(pem.lines().filter(|line| line.len() == 64).map(|line| line.as_bytes().to_vec()));
    }
}

/// The broker, which asks for a password within TLS.
async fn broker(house: &House) -> Option<Kafka> {
    let own = Identity::new("localhost", Some(&house.authority), 1, 10);
    let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
    let pem = own.key.private_key_to_pem_pkcs8().unwrap();
    let certificates = Certificates {
        broker: text(pem) + &text(own.certificate.to_pem().unwrap()),
        authority: text(house.authority.certificate.to_pem().unwrap()),
    };
    let kafka = require(Laboratory::open().unwrap().kafka().secured(certificates).start().await)?;
    for topic in [TOPIC, CHECKPOINTS] {
        kafka.create_topic(topic, 1).await.unwrap();
    }
    Some(kafka)
}

/// Everything that can have a secret has one.
fn configured(house: &House, secrets: &mut Secrets, kafka: &Kafka, authorizer: u16, collector: &str) -> Countersign {
    let at = house.path().display();
    let for_authorizers = Identity::new("countersign", Some(&house.authority), 1, 10);
    secrets.pair(house.path(), "client", &for_authorizers, None);
    let (locked, for_kafka) = (secrets.text(), Identity::new("countersign", Some(&house.authority), 1, 10));
    secrets.pair(house.path(), "kafka", &for_kafka, Some(&locked));
    let listener = Identity::new("localhost", Some(&house.authority), 1, 10);
    secrets.pair(house.path(), "listener", &listener, None);
    let signing = note::generate("test").unwrap();
    secrets.all.push(signing.splitn(5, '+').nth(4).unwrap().as_bytes().to_vec());
    secrets.all.push(PASSWORD.into());
    let authorizers = format!(
        "token = {{ file = \"{{dir}}/admin\" }}\n[[authorizer]]\nname = \"authz\"\nurl = \"https://localhost:{authorizer}/\"\n\
         token = {{ file = \"{{dir}}/authorizer\" }}\n\
         tls = {{ ca = \"{at}/ca.crt\", certificate = \"{at}/client.crt\", key = \"{at}/client.key\" }}\n"
    );
    let kafka = format!(
        "[kafka]\nbrokers = [\"{}\"]\ntopic = \"{TOPIC}\"\n[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\
         \"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"{USER}\"\n\"sasl.password\" = {{ file = \"{{dir}}/password\" }}\n\
         \"ssl.ca.location\" = \"{at}/ca.crt\"\n\"ssl.certificate.location\" = \"{at}/kafka.crt\"\n\
         \"ssl.key.location\" = \"{at}/kafka.key\"\n\"ssl.key.password\" = {{ file = \"{{dir}}/locked\" }}\n\
         [otlp]\nendpoint = \"{collector}\"\nsample = 1.0\n[otlp.headers]\nauthorization = {{ file = \"{{dir}}/otlp\" }}\n\
         [audit.privacy]\naccount = \"hmac\"\nkeys = [{{ id = \"now\", file = \"{{dir}}/pseudonyms\" }}]",
        kafka.by(Door::SaslTls)
    );
    Countersign::custom(&authorizers)
        .listen(&house.listen(true))
        .token(&format!("Bearer {}", secrets.text()))
        .audit("signing_key = { file = \"{dir}/signing\" }\ncheckpoint_every = \"1s\"")
        .with(&kafka)
        .file("admin", &format!("Bearer {}", secrets.text()))
        .file("authorizer", &format!("Bearer {}", secrets.text()))
        .file("otlp", &format!("Bearer {}", secrets.text()))
        .file("pseudonyms", &secrets.text())
        .file("signing", &signing)
        .file("locked", &locked)
        .file("password", PASSWORD)
        .verbose()
}

/// What a command says, whatever it comes to.
fn said(args: &[&str], code: i32) -> Vec<u8> {
    let ran = Command::new(binary()).args(args).output().unwrap();
    let all = [ran.stdout, ran.stderr].concat();
    assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&all));
    all
}

/// Of a configuration that is right, and of one in which one thing after another is not.
fn commands(house: &House, proxy: &Running) -> Vec<u8> {
    let file = proxy.config_file().display().to_string();
    let mut all = said(&["check", &file], 0);
    let probed = Command::new(binary()).args(["check", "--probe", &file]).output().unwrap();
    all.extend([probed.stdout, probed.stderr].concat());
    let (dir, at) = (proxy.home(), house.path());
    for (place, other) in [
        (at.join("listener.key"), at.join("client.key")),
        (at.join("client.key"), at.join("listener.key")),
        (at.join("kafka.key"), at.join("listener.key")),
        (dir.join("locked"), dir.join("password")),
        (dir.join("signing"), dir.join("pseudonyms")),
        (dir.join("pseudonyms"), dir.join("password")),
        (dir.join("token"), at.join("listener.key")),
        (dir.join("authorizer"), at.join("client.key")),
    ] {
        let right = std::fs::read(&place).unwrap();
        std::fs::copy(other, &place).unwrap();
        all.extend(said(&["check", &file], 64));
        all.extend(said(&["serve", "--config", &file], 64));
        std::fs::write(&place, right).unwrap();
    }
    all
}

/// Every certificate beside a key was read: they end nine days from when they were made.
fn looked_at(metrics: &str, said: &str) {
    for used in [
        "authorizer_ca\",name=\"authz",
        "authorizer_client\",name=\"authz",
        "kafka_ca\",name=\"kafka",
        "kafka_client\",name=\"kafka",
    ] {
        let series = format!("countersign_tls_certificate_expiry_timestamp_seconds{{use=\"{used}\"}}");
        assert!(metrics.contains(&series), "{series}");
    }
    for which in [
        "`tls.ca` of authorizer `authz`",
        "`tls.certificate` of authorizer `authz`",
        "the authority in `kafka.properties`",
        "the certificate in `kafka.properties`",
    ] {
        let warned = [8, 9].map(|days| format!("warning: {which} ends in {days} days"));
        assert!(warned.iter().any(|warning| said.contains(warning)), "{which}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_the_configuration_is_in_any_sink() {
    let (house, collector) = (House::new(), Collector::start(Manner::Takes));
    let server = encrypted::serve(&Identity::new("localhost", Some(&house.authority), 1, 10), |_| {}).await;
    let Some(kafka) = broker(&house).await else { return };
    let mut secrets = Secrets { all: Vec::new(), next: 40 };
    let setup = configured(&house, &mut secrets, &kafka, server.address.port(), &collector.endpoint);
    let mut proxy = setup.start().await;
    let token = std::fs::read_to_string(proxy.home().join("token")).unwrap();
    let good = Good::with(&house, &proxy, token.trim_end()).await;
    for _ in 0..3 {
        assert!(good.ask().await.unwrap().allowed(), "{}", proxy.log());
    }
    // One letter of it is wrong.
    let close = Good::with(&house, &proxy, &token.trim_end().replace("x7Qz", "x7Qy")).await;
    assert_eq!(close.ask().await.unwrap().status, 401);
    let file = proxy.config_file().display().to_string();
    let admin = proxy.home().join("admin").display().to_string();
    let purged = said(&["purge", "--config", &file, "--token-file", &admin, "--all"], 0);
    proxy.delivered().await;
    let (metrics, status) = (proxy.metrics().await, proxy.status_pages().await);
    let published: Vec<u8> = in_kafka(&kafka).await.into_iter().flat_map(|raw| raw.bytes).collect();
    proxy.stop().await;
    assert!(!published.is_empty() && proxy.decisions().len() == 3);

    let spans = format!("{:?}", collector.spans());
    let said = [purged, commands(&house, &proxy)].concat();
    looked_at(&metrics, &String::from_utf8_lossy(&said));
    for (sink, bytes) in [
        ("Kafka", published),
        ("the spool", spool_bytes(&proxy.spool())),
        ("the log", proxy.log().into_bytes()),
        ("the metrics", metrics.into_bytes()),
        ("the status page", status.into_bytes()),
        ("the traces", spans.into_bytes()),
        ("what commands say", said),
    ] {
        assert_clean(sink, &bytes, &secrets.all);
    }
    // The control: where keys, tokens and passwords are, they are found. The key for Kafka is locked, so that only its
    // password is anywhere to be seen.
    let keys = ["listener.key", "client.key"].map(|name| house.path().join(name));
    let texts = ["token", "admin", "authorizer", "otlp", "pseudonyms", "signing", "locked", "password"];
    for file in keys.into_iter().chain(texts.map(|name| proxy.home().join(name))) {
        let secret = std::fs::read(&file).unwrap();
        let found = std::panic::catch_unwind(|| assert_clean("its file", &secret, &secrets.all));
        assert!(found.is_err(), "{} holds no secret that is looked for", file.display());
    }
}
