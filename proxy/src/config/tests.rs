//! What a good configuration becomes: secrets, defaults, precedence, generation. And that no text makes reading panic.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::meant::{Always, Clients, Combine, Durability, RetryOn};
use super::{Config, Loaded, parse};

const MINIMAL: &str = include_str!("../../../config/minimal.toml");
const FULL: &str = include_str!("../../../config/full.toml");

fn load(text: &str, env: &[(&str, &str)]) -> Loaded {
    let env: HashMap<String, String> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    parse(text, "c.toml", &|name| env.get(name).cloned()).unwrap_or_else(|all| panic!("{all}"))
}

fn config(text: &str) -> Config {
    load(text, &[]).config
}

#[test]
fn the_minimal_file_has_the_defaults() {
    let Config { instance, listen, authorizers, routes, cache, audit, kafka, otlp, .. } = config(MINIMAL);
    assert_eq!(instance, rustix::system::uname().nodename().to_str().unwrap());
    assert!(matches!(listen.clients, Clients::Loopback));
    assert_eq!((listen.path.as_str(), listen.max_body, listen.max_in_flight), ("/", 1 << 20, 4096));
    assert_eq!((listen.deadline, listen.drain), (Duration::from_secs(2), Duration::from_secs(17)));
    let [opa] = &authorizers[..] else { panic!("one authorizer") };
    assert_eq!((opa.timeout, opa.retries, opa.max_in_flight), (Duration::from_millis(500), 1, 512));
    assert_eq!(opa.retry_on, [RetryOn::Connect, RetryOn::ConnectionLost]);
    assert!(opa.tls.is_none());
    let [route] = &routes[..] else { panic!("one route") };
    assert_eq!(
        (route.name.as_str(), &route.ask[..], route.combine),
        ("default", &["opa".to_owned()][..], Combine::First)
    );
    assert!(route.matches.is_everything());
    assert_eq!((route.allow_ttl, route.deny_ttl), (Duration::from_secs(10), Duration::from_secs(2)));
    assert_eq!((cache.entries, &cache.actions[..]), (100_000, &["s3:*".to_owned()][..]));
    assert_eq!((audit.durability, audit.probes, audit.max_size), (Durability::Synced, Durability::Written, 20 << 30));
    assert_eq!(kafka.unwrap().checkpoint_topic, "countersign.checkpoints");
    assert!(otlp.is_none(), "nothing is traced without [otlp]");
}

#[test]
fn https_always_has_a_name_to_verify() {
    let https = MINIMAL.replace("http://127.0.0.1:8181", "https://opa.internal");
    let server_name = |text: &str| config(text).authorizers[0].tls.clone().unwrap().server_name;
    assert_eq!(server_name(&https), "opa.internal");
    let named = https.replace("[audit]", "tls = { server_name = \"opa\" }\n[audit]");
    assert_eq!(server_name(&named), "opa");
    assert_eq!(server_name(&MINIMAL.replace("http://127.0.0.1:8181", "https://[::1]:8181")), "::1");
}

fn with_token_file(content: &[u8], mode: u32) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(content).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let tokens = format!("tokens = [{{ name = \"m\", file = \"{}\" }}]\n[[authorizer]]", link.display());
    (directory, MINIMAL.replacen("[[authorizer]]", &tokens, 1))
}

#[test]
fn a_token_is_the_files_content_but_for_one_newline() {
    for (content, expected) in [("Bearer a", "Bearer a"), ("Bearer a\n", "Bearer a"), ("Bearer a\r\n", "Bearer a")] {
        let (_directory, text) = with_token_file(content.as_bytes(), 0o600);
        let loaded = load(&text, &[]);
        assert_eq!(loaded.warnings, []);
        let Clients::Tokens(tokens) = loaded.config.listen.clients else { panic!("tokens") };
        assert_eq!(tokens[0].value.expose_secret(), expected);
    }
    let (_directory, text) = with_token_file(b"a", 0o640);
    let warnings = load(&text, &[]).warnings;
    assert!(warnings[0].message.ends_with("can be read by others (mode 0640); 0600 is enough"), "{warnings:?}");
    for (content, expected) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"a\n\n", "does not fit"),
        (b"A=1\0B=2\0", "does not fit"),
        (b"\xff", "is not text"),
        (&[b'a'; 70_000], "longer than 64 KiB"),
    ] {
        let (_directory, text) = with_token_file(content, 0o600);
        let error = parse(&text, "c.toml", &|_| None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_tls_key_that_others_can_read_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let written = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, "not looked into here").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (written("certificate"), written("key"));
    let tls = format!("[listen.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let warnings: Vec<String> =
        load(&format!("{MINIMAL}{tls}"), &[]).warnings.iter().map(|one| one.message.clone()).collect();
    let wide = format!("`{key}` can be read by others (mode 0644); 0600 is enough");
    assert_eq!(warnings.iter().filter(|one| one.contains("can be read by others")).collect::<Vec<_>>(), [&wide]);
}

#[test]
fn only_regular_files_hold_secrets() {
    for path in ["/proc/self/environ", "/dev/zero", "/tmp"] {
        let text = MINIMAL.replace("[audit]", &format!("token = {{ file = \"{path}\" }}\n[audit]"));
        assert!(parse(&text, "c.toml", &|_| None).is_err(), "{path}");
    }
}

#[test]
fn toml_beats_the_environment_which_beats_the_default() {
    let endpoint = |lines: &str, env: &[(&str, &str)]| {
        load(&format!("{MINIMAL}[otlp]\n{lines}"), env).config.otlp.map(|otlp| otlp.endpoint.to_string())
    };
    let (base, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let written = "endpoint = \"http://written:1/x/\"";
    assert_eq!(endpoint("", &[]).unwrap(), "http://127.0.0.1:4318/v1/traces");
    assert_eq!(endpoint("", &[(base, "http://b:1")]).unwrap(), "http://b:1/v1/traces");
    assert_eq!(endpoint("", &[(base, "http://b:1/x/?key=a")]).unwrap(), "http://b:1/x/v1/traces?key=a");
    assert_eq!(endpoint("", &[(base, "http://b:1"), (traces, "http://t:1/in")]).unwrap(), "http://t:1/in");
    assert_eq!(
        endpoint(written, &[(base, "http://b:1"), (traces, "http://t:1")]).unwrap(),
        "http://written:1/x/v1/traces"
    );
    assert_eq!(endpoint(written, &[("OTEL_SDK_DISABLED", "true")]), None);
    assert!(load(MINIMAL, &[(base, "http://b:1")]).config.otlp.is_none());

    let env = [("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a,x=1"), ("T", "Bearer b")];
    let headers = |lines: &str| {
        let otlp = load(&format!("{MINIMAL}[otlp]\n{lines}"), &env).config.otlp.unwrap();
        let shown = otlp.headers.iter().map(|header| format!("{}: {}", header.name, header.value.expose_secret()));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(headers(""), ["authorization: Bearer a", "x: 1"]);
    assert_eq!(headers("headers = { Authorization = { env = \"T\" } }"), ["authorization: Bearer b"]);
    let otlp = config(&format!("{MINIMAL}[otlp]\nalways = [\"deny\"]")).otlp.unwrap();
    assert_eq!((otlp.always, otlp.sample), (vec![Always::Deny], 0.01));
}

#[test]
fn the_generation_follows_the_meaning() {
    let with_token = |token: &str| {
        let text = MINIMAL.replace("[audit]", "token = { env = \"T\" }\n[audit]");
        load(&text, &[("T", token)]).config.generation()
    };
    let generation = config(MINIMAL).generation();
    assert!(generation.len() == 8 && generation.bytes().all(|byte| byte.is_ascii_hexdigit()), "{generation}");
    assert_eq!(config(&format!("# A comment.\n{MINIMAL}")).generation(), generation);
    assert_eq!(config(&MINIMAL.replace("[audit]", "retries = 1\n[audit]")).generation(), generation, "a default");
    assert_ne!(config(&MINIMAL.replace("[audit]", "retries = 2\n[audit]")).generation(), generation);
    assert_eq!(with_token("a"), with_token("a"));
    assert_ne!(with_token("a"), with_token("b"));
}

#[test]
fn what_is_shown_of_a_configuration_holds_no_secret() {
    let text = MINIMAL.replace("[audit]", "token = { env = \"T\" }\n[audit]")
        + "properties = { \"sasl.password\" = { env = \"T\" } }\n";
    let loaded = load(&text, &[("T", "hunter2")]);
    assert_eq!(loaded.config.kafka.as_ref().unwrap().properties[0].value.expose_secret(), "hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&loaded.config).unwrap().contains("hunter2"));
}

#[test]
fn every_key_is_read() {
    for leaf in super::keys::leaves() {
        let (table, name) = leaf.path.rsplit_once('.').unwrap_or(("", &leaf.path));
        // A date is no value of any key, so whoever reads this one must complain about it by name.
        let head = match table {
            "" => String::new(),
            "authorizer" | "route" | "listen.tokens" | "audit.privacy.keys" => format!("[[{table}]]\n"),
            _ => format!("[{table}]\n"),
        };
        let parents = if let Some((parent @ ("authorizer" | "route"), _)) = table.split_once('.') {
            format!("[[{parent}]]\nurl = \"https://x/\"\n")
        } else {
            String::new()
        };
        // A client certificate is looked at only beside its key.
        let beside = match leaf.path.as_str() {
            "authorizer.tls.key" => "certificate = \"x\"\n",
            "authorizer.tls.certificate" => "key = \"x\"\n",
            _ => "",
        };
        let text = format!("{parents}{head}{beside}{name} = 2026-11-23\n");
        let all = parse(&text, "c.toml", &|_| None).unwrap_err().to_string();
        assert!(all.contains(&format!("`{}` takes", leaf.path)), "{}:\n{text}\n{all}", leaf.path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_character_less_or_more_never_panics(at in 0..FULL.chars().count(), insert in proptest::option::of(any::<char>())) {
        let mut text: Vec<char> = FULL.chars().collect();
        match insert {
            Some(character) => text.insert(at, character),
            None => drop(text.remove(at)),
        }
        let text: String = text.into_iter().collect();
        if let Err(diagnostics) = parse(&text, "c.toml", &|_| None) {
            prop_assert!(!diagnostics.all.is_empty());
            prop_assert!(!diagnostics.to_string().is_empty());
        }
    }
}
