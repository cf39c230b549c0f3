//! The manifests of `config/kubernetes`, as Kustomize builds them: against the schemas of Kubernetes and of the Prometheus
//! operator, and against what Countersign needs of them (`rules`).

mod monitoring;
mod rules;

use std::path::{Path, PathBuf};
use std::process::Command;

use loadtest::laboratory::{Laboratory, Reader, require};
use loadtest::stub::{Script, Stub};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::super::support::page::blocks;
use super::super::support::{Countersign, http};
use super::{binary, checked, files, list, packages, read, run, secrets, text, yaml};
use rules::Deployed;

const FLEET: &str = "config/kubernetes/fleet";
const SIDECAR: &str = "config/kubernetes/sidecar";
/// The oldest with containers that start before others and stay, and the newest with a schema.
const VERSIONS: [&str; 2] = ["1.29.0", "1.37.0"];

/// What `kubectl apply -k` would apply. `None` where this machine cannot build it, which has been said.
async fn built(folder: &str) -> Option<String> {
    let kustomize = require(Laboratory::open().unwrap().reader(Reader::Kustomize).await)?;
    Some(
        run(Command::new(kustomize).arg("build").arg(files::root().join(folder))).unwrap_or_else(|why| panic!("{why}")),
    )
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Strictly: what the schema does not know is an error, too.
fn is_valid(packages: &Path, file: &Path) -> Result<String, String> {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(["-m", "kubernetes_validate", "--strict"]);
    run(python.args(VERSIONS.iter().flat_map(|version| ["-k", version])).arg(file))
}

/// The configuration in the only ConfigMap.
fn toml(documents: &[Value]) -> String {
    let maps = documents.iter().filter(|document| document["kind"] == "ConfigMap");
    let [map] = maps.collect::<Vec<_>>()[..] else { panic!("one ConfigMap") };
    text(map, "/data/countersign.toml").to_owned()
}

#[tokio::test]
async fn kubernetes_knows_every_member_of_every_manifest() {
    let Some(packages) = packages().await else { return };
    let home = tempfile::tempdir().unwrap();
    let mut all: Vec<PathBuf> =
        [FLEET, SIDECAR].map(|folder| files::root().join(folder).join("secret.example.yaml")).into();
    for folder in [FLEET, SIDECAR, "dashboards"] {
        let Some(manifests) = built(folder).await else { return };
        let file = home.path().join(format!("{}.yaml", folder.replace('/', "-")));
        std::fs::write(&file, &manifests).unwrap();
        all.push(file);
    }
    for file in &all {
        is_valid(&packages, file).unwrap_or_else(|why| panic!("{why}"));
    }
    // The controls: a member that does not exist, and one of another type.
    let fleet = std::fs::read_to_string(&all[2]).unwrap();
    for (good, bad) in [("podManagementPolicy:", "podManagementPolitics:"), ("replicas: 2", "replicas: two")] {
        let file = home.path().join("broken.yaml");
        assert!(fleet.contains(good));
        std::fs::write(&file, fleet.replacen(good, bad, 1)).unwrap();
        assert!(is_valid(&packages, &file).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn manifests_give_countersign_what_it_needs() {
    for folder in [FLEET, SIDECAR] {
        let Some(manifests) = built(folder).await else { return };
        let documents = documents(&manifests);
        let toml = toml(&documents);
        let config = checked(&toml);
        let found = rules::complaints(&Deployed { documents: &documents, config: &config, toml: &toml });
        assert_eq!(found, [""; 0], "{folder}");
    }
}

/// One member each, and what must be said about it. The last part of the path may be missing.
fn broken() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str)> {
    const POD: &str = "StatefulSet/spec/template/spec";
    vec![
        (FLEET, POD, "/terminationGracePeriodSeconds", json!(32), "grace period"),
        (SIDECAR, POD, "/terminationGracePeriodSeconds", json!(15), "grace period"),
        (FLEET, POD, "/securityContext/runAsUser", json!(65_532), "is not the image's user"),
        (SIDECAR, POD, "/initContainers/0/securityContext/runAsUser", json!(1000), "is not the image's user"),
        (FLEET, POD, "/securityContext/fsGroupChangePolicy", json!("Always"), "fsGroupChangePolicy"),
        (FLEET, POD, "/securityContext/seccompProfile/type", json!("Unconfined"), "seccomp"),
        (FLEET, POD, "/automountServiceAccountToken", json!(true), "token"),
        (FLEET, POD, "/containers/0/image", json!("countersign:latest"), "is not the image"),
        (FLEET, POD, "/containers/0/ports/0/containerPort", json!(8080), "8080"),
        (FLEET, POD, "/containers/0/readinessProbe/failureThreshold", json!(1), "late answer"),
        (FLEET, POD, "/containers/0/readinessProbe/timeoutSeconds", json!(1), "late answer"),
        (FLEET, POD, "/containers/0/readinessProbe/httpGet/path", json!("/livez"), "who is ready"),
        (FLEET, POD, "/containers/0/livenessProbe/httpGet/port", json!("metrics"), "liveness"),
        (FLEET, POD, "/containers/0/resources/limits/cpu", json!("1"), "limit for the CPU"),
        (FLEET, POD, "/containers/0/securityContext/readOnlyRootFilesystem", json!(false), "root file system"),
        (SIDECAR, POD, "/containers/0/securityContext/allowPrivilegeEscalation", json!(true), "privileges"),
        (FLEET, POD, "/containers/0/volumeMounts/0/mountPath", json!("/var/lib/countersign/spool"), "spool"),
        (FLEET, POD, "/containers/0/volumeMounts/1/mountPath", json!("/etc/elsewhere"), "configuration"),
        (FLEET, POD, "/containers/0/volumeMounts/2/mountPath", json!("/run/elsewhere"), "minio-token"),
        (FLEET, POD, "/affinity/podAntiAffinity", json!({}), "one node"),
        (SIDECAR, POD, "/initContainers/0/restartPolicy", json!("Never"), "stays up"),
        (SIDECAR, POD, "/initContainers/0/startupProbe", Value::Null, "startup"),
        (SIDECAR, POD, "/containers/0/env/0/value", json!("http://127.0.0.1:8080/"), "MinIO asks"),
        (
            FLEET,
            "StatefulSet/spec",
            "/volumeClaimTemplates/0/spec/resources/requests/storage",
            json!("20Gi"),
            "smaller",
        ),
        (FLEET, "StatefulSet/spec", "/persistentVolumeClaimRetentionPolicy/whenScaled", json!("Delete"), "deleted"),
        (FLEET, "Service/spec", "/selector", json!({ "app": "other" }), "selects"),
        (FLEET, "Service/spec", "/ports/0/targetPort", json!("http"), "http"),
        (FLEET, "PodDisruptionBudget/spec", "/selector/matchLabels", json!({ "app": "other" }), "selects"),
        (FLEET, "NetworkPolicy/spec", "/egress/2/ports/0/port", json!(9093), "9092"),
        (FLEET, "NetworkPolicy/spec", "/ingress/0/ports/0/port", json!("admin"), "decisions"),
    ]
}

/// The same documents with another value in the first one of a kind.
fn with(documents: &[Value], place: &str, pointer: &str, value: &Value) -> Vec<Value> {
    let (kind, above) = place.split_once('/').unwrap();
    let mut documents = documents.to_vec();
    let document = documents.iter_mut().find(|document| document["kind"] == kind).unwrap();
    let whole = format!("/{above}{pointer}");
    let (parent, last) = whole.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{whole}"));
    match last.parse::<usize>() {
        Ok(index) if parent.is_array() => parent[index] = value.clone(),
        _ => parent[last] = value.clone(),
    }
    documents
}

#[tokio::test]
async fn each_rule_sees_manifests_that_break_it() {
    // Kustomize takes a while, and says the same each time.
    let Some(fleet) = built(FLEET).await else { return };
    let Some(sidecar) = built(SIDECAR).await else { return };
    for (folder, place, pointer, value, said) in broken() {
        let whole = documents(if folder == FLEET { &fleet } else { &sidecar });
        let toml = toml(&whole);
        let config = checked(&toml);
        let documents = with(&whole, place, pointer, &value);
        let found = rules::complaints(&Deployed { documents: &documents, config: &config, toml: &toml });
        assert!(found.iter().any(|why| why.contains(said)), "{folder} {place}{pointer}: {found:?}");
    }
}

/// Whoever forgets to make one has no Countersign, instead of one with a token that everybody knows.
#[test]
fn the_example_of_a_secret_cannot_be_used() {
    let secret = yaml(&read(format!("{FLEET}/secret.example.yaml")));
    let toml = read(format!("{FLEET}/countersign.toml"));
    let home = tempfile::tempdir().unwrap();
    let (file, _) = super::at_home(&toml, home.path());
    for name in secrets(&toml) {
        let key = Path::new(name).file_name().unwrap().to_str().unwrap();
        let token = text(&secret, &format!("/stringData/{key}"));
        assert!(!token.is_empty(), "the example has no `{key}`");
        std::fs::write(home.path().join(name), token).unwrap();
    }
    let output = Command::new(binary()).arg("check").arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The page's command, on a machine where nothing is mounted.
#[test]
fn the_page_checks_a_fleet_before_it_is_applied() {
    let blocks = blocks("KUBERNETES.md");
    let mut lines = blocks.iter().flat_map(|block| block.text.lines());
    let line = lines.find(|line| line.contains("| countersign check")).expect("the page says how");
    let script = line
        .replace("| countersign", &format!("| {}", binary()))
        .replace(" config/", &format!(" {}/config/", files::root().display()));
    let home = tempfile::tempdir().unwrap();
    let check = || run(Command::new("bash").args(["-euc", &script]).current_dir(home.path()));
    assert!(check().is_err(), "there is no token");
    std::fs::write(home.path().join("minio-token"), "Bearer secret\n").unwrap();
    check().unwrap_or_else(|why| panic!("{why}"));
}

/// For a MinIO of one's own the page sends to what stands between the marks.
#[test]
fn what_a_minio_of_ones_own_needs_is_marked() {
    let manifest = read(format!("{SIDECAR}/minio.yaml"));
    let (begin, end) = ("# countersign\n", "# end\n");
    assert_eq!(manifest.matches(begin).count(), manifest.matches(end).count());
    let marked: String = manifest.split(begin).skip(1).filter_map(|part| part.split(end).next()).collect();
    for needed in [
        "terminationGracePeriodSeconds:",
        "fsGroup:",
        "fsGroupChangePolicy:",
        "initContainers:",
        "MINIO_POLICY_PLUGIN_URL",
        "configMap:",
        "name: spool\n      spec:",
    ] {
        assert!(marked.contains(needed), "{needed}");
    }
    assert!(!marked.contains("MINIO_ROOT_USER"), "MinIO's own is not marked");
}

/// The page's command, without the cluster that it goes through.
#[tokio::test]
async fn the_page_shows_who_signed() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).start().await;
    proxy.stop().await;
    let blocks = blocks("KUBERNETES.md");
    let command = blocks.iter().find(|block| block.text.contains("signing_key")).expect("the page says how");
    let through = "kubectl -n countersign exec -i countersign-0 -- /usr/local/bin/countersign";
    let home = tempfile::tempdir().unwrap();
    let (toml, _) = super::at_home(&read(format!("{FLEET}/countersign.toml")), home.path());
    let script = [
        (through, binary()),
        ("config/kubernetes/fleet/countersign.toml", toml.to_str().unwrap()),
        ("/var/lib/countersign/spool", proxy.spool().to_str().unwrap()),
    ]
    .into_iter()
    .fold(command.text.clone(), |text, (theirs, ours)| {
        assert!(text.contains(theirs), "{theirs}");
        text.replace(theirs, ours)
    });
    assert!(!script.contains("kubectl"), "{script}");
    let said = run(Command::new("bash").args(["-euc", &script])).unwrap_or_else(|why| panic!("{why}"));
    let public = std::fs::read_to_string(proxy.spool().join("signing.pub")).unwrap();
    assert!(said.contains(&format!("signed by {}\n", public.trim_end())), "{said}");
}

#[tokio::test]
async fn every_probe_is_answered() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let mut asked = 0;
    for folder in [FLEET, SIDECAR] {
        let Some(manifests) = built(folder).await else { return };
        let documents = documents(&manifests);
        let toml = toml(&documents);
        let config = checked(&toml);
        let deployed = Deployed { documents: &documents, config: &config, toml: &toml };
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let Some(probe) = deployed.container().get(probe) else { continue };
            let path = text(probe, "/httpGet/path");
            assert_eq!(http::get(proxy.admin(), path).await.status, 200, "{path}");
            asked += 1;
        }
    }
    assert_eq!(asked, 4);
    assert_eq!(http::get(proxy.admin(), "/ready").await.status, 404, "not every path is a probe's");
}

#[test]
fn examples_are_no_part_of_what_is_applied() {
    for folder in [FLEET, SIDECAR] {
        let kustomization = yaml(&read(format!("{folder}/kustomization.yaml")));
        let resources = list(&kustomization, "/resources");
        assert!(
            !resources.is_empty() && resources.iter().all(|resource| !resource.as_str().unwrap().contains("example"))
        );
    }
}
