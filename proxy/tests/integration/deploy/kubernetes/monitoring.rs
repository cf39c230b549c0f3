//! What the Prometheus operator is given: the monitors as they stand, the alert rules as docs/KUBERNETES.md makes them,
//! against the operator's own definitions, where every member must be one that they know.

use std::path::Path;
use std::process::Command;

use loadtest::laboratory::{Laboratory, require};
use serde_json::{Value, json};

use super::super::super::support::page::blocks;
use super::super::{files, list, read, run, text, yaml};
use super::{FLEET, SIDECAR, built, documents};

const MONITORING: &str = "config/kubernetes/monitoring";

/// The definitions let unknown members through, and the operator drops them: here they are an error.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let open = members.contains_key("additionalProperties")
                || members.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if members.contains_key("properties") && !open {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        _ => {}
    }
}

/// The schema of what is below `spec`.
fn definition(home: &Path, kind: &str) -> jsonschema::Validator {
    let file = home.join(format!("monitoring.coreos.com_{kind}.yaml"));
    let definition = yaml(&std::fs::read_to_string(file).unwrap());
    let mut schema = list(&definition, "/spec/versions")[0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
    strict(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test]
async fn the_operator_knows_every_member_of_the_monitor() {
    let Some(home) = require(Laboratory::open().unwrap().custom_resources().await) else { return };
    let (Some(built), Some(fleet)) = (built(MONITORING).await, built(FLEET).await) else { return };
    let [monitor] = &documents(&built)[..] else { panic!("one monitor") };
    let validator = definition(&home, "servicemonitors");
    validator.validate(&monitor["spec"]).unwrap_or_else(|why| panic!("{why}"));
    // It finds a Service, and a port of it.
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let fleet = documents(&fleet);
    let services = fleet.iter().filter(|document| document["kind"] == "Service");
    let mut found = services
        .filter(|service| wanted.iter().all(|(name, value)| service["metadata"]["labels"].get(name) == Some(value)));
    let (Some(service), None) = (found.next(), found.next()) else { panic!("one Service, lest it is read twice") };
    let port = text(monitor, "/spec/endpoints/0/port");
    assert!(list(service, "/spec/ports").iter().any(|one| one["name"] == port), "no port `{port}`");
    assert_eq!(monitor["metadata"]["namespace"], service["metadata"]["namespace"]);
    // The control: a member that does not exist.
    let mut broken = monitor["spec"].clone();
    broken["endpoints"][0]["intervall"] = json!("15s");
    assert!(!validator.is_valid(&broken));
}

#[tokio::test]
async fn the_operator_finds_the_sidecars() {
    let Some(home) = require(Laboratory::open().unwrap().custom_resources().await) else { return };
    let Some(sidecar) = built(SIDECAR).await else { return };
    let monitor = yaml(&read(format!("{MONITORING}/pod-monitor.yaml")));
    let validator = definition(&home, "podmonitors");
    validator.validate(&monitor["spec"]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((text(&monitor, "/kind"), text(&monitor, "/apiVersion")), ("PodMonitor", "monitoring.coreos.com/v1"));
    // It finds the pods, and a port of the container that starts before MinIO.
    let sidecar = documents(&sidecar);
    let set = sidecar.iter().find(|document| document["kind"] == "StatefulSet").expect("a StatefulSet");
    let pod = &set["spec"]["template"];
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(wanted.iter().all(|(name, value)| pod["metadata"]["labels"].get(name) == Some(value)), "{wanted:?}");
    let port = text(&monitor, "/spec/podMetricsEndpoints/0/port");
    let mut ports = list(pod, "/spec/initContainers").iter().flat_map(|container| list(container, "/ports"));
    assert!(ports.any(|one| one["name"] == port), "no port `{port}`");
    assert_eq!(monitor["metadata"]["namespace"], set["metadata"]["namespace"]);
    // Under the name of the pod, as in the fleet.
    let fleet = yaml(&read(format!("{MONITORING}/service-monitor.yaml")));
    let (ours, theirs) = (&monitor["spec"]["podMetricsEndpoints"][0], &fleet["spec"]["endpoints"][0]);
    assert_eq!((&ours["relabelings"], &ours["path"]), (&theirs["relabelings"], &theirs["path"]));
    // The control: a member that does not exist.
    let mut broken = monitor["spec"].clone();
    broken["podMetricsEndpoints"][0]["intervall"] = json!("15s");
    assert!(!validator.is_valid(&broken));
}

#[tokio::test]
async fn the_alert_rules_become_what_the_operator_reads() {
    let Some(home) = require(Laboratory::open().unwrap().custom_resources().await) else { return };
    let blocks = blocks("KUBERNETES.md");
    let mut lines = blocks.iter().flat_map(|block| block.text.lines());
    let line = lines.find(|line| line.contains("rule.head.yaml")).expect("the page says how");
    // Whoever runs tests may have a cluster: nothing is sent there.
    let script = line.strip_suffix(" | kubectl apply -f -").expect("the last thing it does");
    assert!(!script.contains("kubectl"), "{script}");
    let made = run(Command::new("bash").args(["-euc", script]).current_dir(files::root())).unwrap();
    let rules = yaml(&made);
    let validator = definition(&home, "prometheusrules");
    validator.validate(&rules["spec"]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(rules["spec"]["groups"], yaml(&read("dashboards/alerts.yml"))["groups"]);
    assert_eq!((text(&rules, "/kind"), text(&rules, "/apiVersion")), ("PrometheusRule", "monitoring.coreos.com/v1"));
    // The control: a rule without an expression.
    let mut broken = rules["spec"].clone();
    broken["groups"][0]["rules"][0].as_object_mut().unwrap().remove("expr");
    assert!(!validator.is_valid(&broken));
}

/// The label that Grafana's sidecar looks for, and every page.
#[tokio::test]
async fn every_dashboard_is_in_a_map() {
    let Some(maps) = built("dashboards").await else { return };
    let maps = documents(&maps);
    let pages = files::with_ending(&[".json"]);
    let pages: Vec<_> = pages.iter().filter(|file| file.path.starts_with("dashboards/")).collect();
    assert_eq!((maps.len(), pages.len()), (3, 3));
    for page in pages {
        let name = page.path.rsplit('/').next().unwrap();
        let holds = |map: &&Value| map["data"].get(name).and_then(Value::as_str) == Some(&page.text);
        let map = maps.iter().find(holds).unwrap_or_else(|| panic!("`{name}` is in no map"));
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    }
}
