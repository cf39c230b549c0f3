//! `config/compose`, as the library of `docker compose` reads it: what each service is told, held against the others. No
//! container is started; `picture` starts the same files with real parts in place of the containers.

use std::path::Path;
use std::process::Command;

use countersign::config::Config;
use loadtest::laboratory::{Laboratory, require, versions};
use serde_json::{Value, json};

use super::{checked, files, fits, image, list, packages, read, run, secrets, stopping, text, yaml};

pub const FOLDER: &str = "config/compose";
const LOADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go_compose");

/// What `docker compose` would run. `None` where this machine cannot read it, which has been said.
pub async fn project() -> Option<Value> {
    load(&files::root().join(FOLDER).join("compose.yaml")).await.map(|said| said.unwrap_or_else(|why| panic!("{why}")))
}

async fn load(file: &Path) -> Option<Result<Value, String>> {
    let loader = require(Laboratory::open().unwrap().go_program("go-compose", Path::new(LOADER)).await)?;
    Some(run(Command::new(loader).arg(file)).map(|printed| serde_json::from_str(&printed).unwrap()))
}

fn services(project: &Value) -> impl Iterator<Item = (&str, &Value)> {
    project["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

/// What is wrong with one service, whichever it is.
fn any(project: &Value, name: &str, service: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let image = text(service, "/image");
    if image.rsplit_once(':').is_none_or(|(_, tag)| !tag.contains(|one: char| one.is_ascii_digit())) {
        all.push(format!("`{name}` runs another image every day: {image}"));
    }
    let open = list(service, "/ports").iter().filter(|port| port["host_ip"] != "127.0.0.1");
    all.extend(open.map(|port| format!("`{name}` lets others in by {}", port["published"])));
    for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
        let checks = !list(&project["services"][other], "/healthcheck/test").is_empty();
        if how["condition"] == "service_healthy" && !checks {
            all.push(format!("`{name}` waits for the health of `{other}`, which nobody looks at"));
        }
    }
    for volume in list(service, "/volumes").iter().filter(|volume| volume["type"] == "bind") {
        let source = Path::new(text(volume, "/source"));
        if !source.exists() || volume["read_only"] != true {
            all.push(format!("`{name}` mounts {}, which is not there, or to write", source.display()));
        }
    }
    for secret in list(service, "/secrets") {
        let file = text(&project["secrets"][text(secret, "/source")], "/file");
        if !Path::new(file).is_file() {
            all.push(format!("`{name}` has a secret that is not there: {file}"));
        }
    }
    all
}

/// A name and a port that Countersign's configuration gives, where a service is.
fn hosts(config: &Config) -> Vec<String> {
    let authorizers = config.authorizers.iter().map(|authorizer| authorizer.url.host.clone());
    let brokers = config.kafka.iter().flat_map(|kafka| &kafka.brokers);
    let brokers = brokers.map(|broker| broker.split(':').next().unwrap_or_default().to_owned());
    authorizers.chain(brokers).chain(config.otlp.iter().map(|otlp| otlp.endpoint.host.clone())).collect()
}

/// What is wrong with Countersign among them.
fn ours(project: &Value, config: &Config, toml: &str) -> Vec<String> {
    let service = &project["services"]["countersign"];
    let grace = humantime::parse_duration(text(service, "/stop_grace_period")).map_or(10, |grace| grace.as_secs());
    let mounted = |target: &str| list(service, "/volumes").iter().any(|volume| volume["target"] == target);
    let spool = config.audit.spool.parent().and_then(Path::to_str).unwrap_or_default();
    let asked = text(project, "/services/minio/environment/MINIO_POLICY_PLUGIN_URL");
    let url = format!("http://countersign:{}{}", config.listen.address.port(), config.listen.path);
    let has = |secret: &&str| list(service, "/secrets").iter().any(|one| text(one, "/target").ends_with(*secret));
    let is_service = |host: &String| project["services"].get(host).is_some();
    let needs = [
        (text(service, "/image") == image(), "its image is not this version's"),
        (Path::new(text(service, "/build/context")) == files::root(), "it is built from elsewhere"),
        (grace > stopping(config), "it is killed before it has stopped"),
        (service["hostname"].is_string(), "its name in records changes"),
        (service["read_only"] == true && service["cap_drop"] == json!(["ALL"]), "it may do what it need not"),
        (mounted("/etc/countersign/countersign.toml"), "its configuration is not where the image looks for it"),
        (mounted(spool), "its spool ends with the container"),
        (secrets(toml).iter().all(has), "it lacks a secret that its configuration names"),
        (hosts(config).iter().all(is_service), "its configuration names a host that is no service"),
        (asked == url, "MinIO asks somewhere else"),
    ];
    needs.into_iter().filter(|(holds, _)| !holds).map(|(_, why)| why.to_owned()).collect()
}

/// Who waits for whom, and until when. MinIO last: one that finds nobody to ask serves root unasked.
fn order(project: &Value) -> Vec<String> {
    let needed = [
        ("topics", "kafka", "service_healthy"),
        ("countersign", "topics", "service_completed_successfully"),
        ("countersign", "opa", "service_healthy"),
        ("minio", "countersign", "service_healthy"),
        ("people", "minio", "service_healthy"),
        ("grafana", "prometheus", "service_healthy"),
    ];
    let missing = needed
        .into_iter()
        .filter(|(who, whom, until)| text(project, &format!("/services/{who}/depends_on/{whom}/condition")) != *until);
    missing.map(|(who, whom, until)| format!("`{who}` does not wait for `{whom}` ({until})")).collect()
}

fn complaints(project: &Value, config: &Config, toml: &str) -> Vec<String> {
    let mut all: Vec<String> = services(project).flat_map(|(name, service)| any(project, name, service)).collect();
    all.extend(order(project));
    all.extend(ours(project, config, toml));
    all
}

#[tokio::test]
async fn each_service_fits_the_others() {
    let Some(packages) = packages().await else { return };
    let file = files::root().join(FOLDER).join("compose.yaml");
    fits(&packages, "vendor.compose-spec", &file).unwrap_or_else(|why| panic!("{why}"));
    let Some(project) = project().await else { return };
    let toml = read(format!("{FOLDER}/countersign.toml"));
    let config = checked(&toml);
    assert_eq!(complaints(&project, &config, &toml), [""; 0]);
    // The parts that the tests know, in the versions that they know.
    let known = versions();
    for (service, version) in
        [("opa", known.opa), ("kafka", known.kafka), ("topics", known.kafka), ("collector", known.collector)]
    {
        assert!(text(&project["services"][service], "/image").ends_with(&format!(":{version}")), "{service}");
    }
}

#[tokio::test]
async fn each_rule_sees_what_breaks_it() {
    let Some(project) = project().await else { return };
    let toml = read(format!("{FOLDER}/countersign.toml"));
    let config = checked(&toml);
    for (pointer, value, said) in [
        ("/services/opa/image", json!("docker.io/openpolicyagent/opa:latest"), "another image"),
        ("/services/minio/ports/0/host_ip", json!("0.0.0.0"), "lets others in"),
        ("/services/opa/healthcheck", json!({}), "nobody looks at"),
        ("/services/opa/volumes/0/source", json!("/nowhere"), "not there"),
        ("/secrets/minio-token/file", json!("/nowhere"), "secret that is not there"),
        ("/services/countersign/image", json!("countersign"), "not this version's"),
        ("/services/countersign/stop_grace_period", json!("32s"), "killed before"),
        ("/services/countersign/read_only", json!(false), "need not"),
        ("/services/countersign/volumes/1/target", json!("/spool"), "ends with the container"),
        ("/services/countersign/secrets", json!([]), "lacks a secret"),
        ("/services/minio/environment/MINIO_POLICY_PLUGIN_URL", json!("http://opa:8181/"), "somewhere else"),
        ("/services/minio/depends_on/countersign/condition", json!("service_started"), "does not wait"),
    ] {
        let mut broken = project.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        let found = complaints(&broken, &config, &toml);
        assert!(found.iter().any(|why| why.contains(said)), "{pointer}: {found:?}");
    }
    // And the reader itself: a member that the specification does not know, and a dependency that is no service.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("compose.yaml");
    for (good, bad) in [("depends_on:", "depend_on:"), ("topics: { condition:", "topic: { condition:")] {
        std::fs::write(&file, read(format!("{FOLDER}/compose.yaml")).replacen(good, bad, 1)).unwrap();
        assert!(load(&file).await.unwrap().is_err(), "{bad}");
    }
}

#[test]
fn minio_sends_the_token_that_countersign_knows() {
    let token = read(format!("{FOLDER}/secrets/minio-token"));
    let environment = read(format!("{FOLDER}/secrets/minio-environment"));
    assert!(environment.lines().any(|line| line == format!("MINIO_POLICY_PLUGIN_AUTH_TOKEN=\"{}\"", token.trim_end())));
}

/// Where a service sees a file of the repository.
fn seen(project: &Value, service: &str, file: &str) -> String {
    let source = files::root().join(file);
    let volumes = list(&project["services"][service], "/volumes");
    let volume = volumes.iter().find(|volume| Path::new(text(volume, "/source")) == source);
    text(volume.unwrap_or_else(|| panic!("`{service}` does not see {file}")), "/target").to_owned()
}

#[tokio::test]
async fn prometheus_reads_its_configuration_and_the_alerts() {
    let promtool = require(Laboratory::open().unwrap().debian_program("promtool", "prometheus").await);
    let (Some(promtool), Some(project)) = (promtool, project().await) else { return };
    let target = seen(&project, "prometheus", "config/compose/prometheus.yml");
    let alerts = seen(&project, "prometheus", "dashboards/alerts.yml");
    assert_eq!(Path::new(&target).parent(), Path::new(&alerts).parent(), "rule files are named beside it");
    // The same two files beside each other.
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("alerts.yml"), read("dashboards/alerts.yml")).unwrap();
    let text = read(format!("{FOLDER}/prometheus.yml"));
    let check = |text: &str| {
        std::fs::write(home.path().join("prometheus.yml"), text).unwrap();
        run(Command::new(&promtool).args(["check", "config", "prometheus.yml"]).current_dir(home.path()))
    };
    let said = check(&text).unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains("rules found") && !said.contains(" 0 rules"), "{said}");
    assert!(check(&text.replace("alerts.yml", "alarms.yml")).is_err(), "the rules are looked for");
    let config = checked(&read(format!("{FOLDER}/countersign.toml")));
    let scraped = format!("countersign:{}", config.admin.address.port());
    assert_eq!(list(&yaml(&text), "/scrape_configs/0/static_configs/0/targets"), [json!(scraped)]);
}

#[tokio::test]
async fn grafana_finds_its_source_and_every_page() {
    let Some(project) = project().await else { return };
    let source = yaml(&read(format!("{FOLDER}/grafana/datasource.yaml")));
    assert_eq!(text(&source, "/datasources/0/type"), "prometheus");
    let url = text(&source, "/datasources/0/url").trim_start_matches("http://");
    let (host, port) = url.split_once(':').unwrap();
    let port: u64 = port.parse().unwrap();
    let published = list(&project["services"][host], "/ports").iter().any(|one| one["target"] == port);
    assert!(published, "{url}");
    let pages = yaml(&read(format!("{FOLDER}/grafana/pages.yaml")));
    let folder = text(&pages, "/providers/0/options/path");
    let dashboards = files::with_ending(&[".json"]);
    let dashboards: Vec<_> = dashboards.iter().filter(|file| file.path.starts_with("dashboards/")).collect();
    assert_eq!(dashboards.len(), 3);
    for page in dashboards {
        let target = seen(&project, "grafana", &page.path);
        assert_eq!(Path::new(&target).parent(), Some(Path::new(folder)), "{target}");
    }
    // Grafana looks in these two directories.
    for (file, kind) in [("datasource", "datasources"), ("pages", "dashboards")] {
        let target = seen(&project, "grafana", &format!("{FOLDER}/grafana/{file}.yaml"));
        assert!(target.starts_with(&format!("/etc/grafana/provisioning/{kind}/")), "{target}");
    }
}
