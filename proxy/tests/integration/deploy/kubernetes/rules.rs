//! What a pod with Countersign in it must have, beside what Kubernetes itself asks for. Each rule says what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use countersign::config::Config;
use serde_json::Value;

use super::super::{image, list, secrets, stopping, text, uid};

/// What is applied, and the configuration in it.
pub struct Deployed<'a> {
    pub documents: &'a [Value],
    pub config: &'a Config,
    pub toml: &'a str,
}

type Rule = fn(&Deployed<'_>) -> Vec<String>;

const RULES: [Rule; 9] = [time, ports, user, closed, volumes, spool, probes, selectors, whole_network];

pub fn complaints(deployed: &Deployed<'_>) -> Vec<String> {
    let of_its_kind: Rule = if deployed.is_beside_minio() { beside_minio } else { fleet };
    RULES.iter().chain([&of_its_kind]).flat_map(|rule| rule(deployed)).collect()
}

impl<'a> Deployed<'a> {
    fn of_kind(&self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    fn set(&self) -> &'a Value {
        self.of_kind("StatefulSet").next().expect("a StatefulSet")
    }

    fn pod(&self) -> &'a Value {
        &self.set()["spec"]["template"]["spec"]
    }

    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        list(self.pod(), "/initContainers").iter().chain(list(self.pod(), "/containers"))
    }

    pub fn container(&self) -> &'a Value {
        self.containers().find(|container| container["name"] == "countersign").expect("a container `countersign`")
    }

    fn is_beside_minio(&self) -> bool {
        self.containers().any(|container| container["name"] == "minio")
    }

    /// By name.
    fn ports(&self) -> BTreeMap<&'a str, u64> {
        let ports = list(self.container(), "/ports").iter();
        ports.map(|port| (text(port, "/name"), port["containerPort"].as_u64().unwrap_or_default())).collect()
    }

    fn mounts(&self) -> impl Iterator<Item = (&'a Path, &'a str)> {
        let mounts = list(self.container(), "/volumeMounts").iter();
        mounts.map(|mount| (Path::new(text(mount, "/mountPath")), text(mount, "/name")))
    }

    fn volume(&self, name: &str) -> Option<&'a Value> {
        list(self.pod(), "/volumes").iter().find(|volume| volume["name"] == name)
    }
}

/// A complaint, where something does not hold.
fn unless(holds: bool, why: impl Into<String>) -> Option<String> {
    (!holds).then(|| why.into())
}

fn time(deployed: &Deployed<'_>) -> Vec<String> {
    let grace = deployed.pod()["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let needed = stopping(deployed.config);
    unless(grace > needed, format!("a grace period of {grace} s is not above {needed} s")).into_iter().collect()
}

fn ports(deployed: &Deployed<'_>) -> Vec<String> {
    let Config { listen, admin, .. } = deployed.config;
    let mut expected = BTreeSet::from([u64::from(admin.address.port())]);
    if !listen.address.ip().is_loopback() {
        expected.insert(listen.address.port().into());
    }
    let named = deployed.ports();
    let found: BTreeSet<u64> = named.values().copied().collect();
    let mut all = Vec::from_iter(unless(found == expected, format!("ports {found:?} instead of {expected:?}")));
    if deployed.is_beside_minio() {
        return all;
    }
    for port in deployed.of_kind("Service").flat_map(|service| list(service, "/spec/ports")) {
        let target = text(port, "/targetPort");
        let right = named.get(target).copied() == port["port"].as_u64();
        all.extend(unless(right, format!("a Service leads to `{target}`, which is no port of that number")));
    }
    all
}

/// The image, and who it runs as.
fn user(deployed: &Deployed<'_>) -> Vec<String> {
    let (pod, container) = (deployed.pod(), deployed.container());
    let runs_as = |member: &str| {
        let own = container["securityContext"].get(member);
        own.or_else(|| pod["securityContext"].get(member)).and_then(Value::as_u64)
    };
    let (name, uid) = (text(container, "/image"), uid());
    [
        unless(name == image(), format!("`{name}` is not the image of this version")),
        unless(runs_as("runAsUser") == Some(uid), format!("{:?} is not the image's user", runs_as("runAsUser"))),
        unless(runs_as("runAsGroup") == Some(uid), "its group is another one"),
        unless(pod["securityContext"]["fsGroup"].is_u64(), "volumes have no group"),
        unless(pod["securityContext"]["runAsNonRoot"] == true, "it may be root"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The strictest of the Pod Security Standards, and more where it is ours.
fn closed(deployed: &Deployed<'_>) -> Vec<String> {
    let (pod, ours) = (deployed.pod(), deployed.container());
    let mut all: Vec<String> = [
        unless(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "no seccomp profile"),
        unless(pod["automountServiceAccountToken"] == false, "it has a token of the cluster"),
        unless(pod["enableServiceLinks"] == false, "the environment has every Service in it"),
        unless(pod.get("hostNetwork").is_none(), "loopback is the whole node's"),
        unless(ours["securityContext"]["readOnlyRootFilesystem"] == true, "its root file system may be written"),
        unless(ours["resources"]["limits"].get("cpu").is_none(), "a limit for the CPU"),
        unless(
            ours["resources"]["limits"]["memory"] == ours["resources"]["requests"]["memory"],
            "memory that is promised and not there",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    for container in deployed.containers() {
        let context = &container["securityContext"];
        let drops = context["capabilities"]["drop"] == serde_json::json!(["ALL"]);
        let whose = text(container, "/name");
        all.extend(unless(
            drops && context["allowPrivilegeEscalation"] == false,
            format!("`{whose}` may have privileges"),
        ));
    }
    all
}

/// The configuration and the secrets that it names are where they are looked for, in directories, which change.
fn volumes(deployed: &Deployed<'_>) -> Vec<String> {
    let single = list(deployed.container(), "/volumeMounts").iter().any(|mount| mount.get("subPath").is_some());
    let mut all = Vec::from_iter(unless(!single, "a file mounted by itself never changes"));
    let file = Path::new(list(deployed.container(), "/args").last().and_then(Value::as_str).unwrap_or_default());
    let map = deployed.of_kind("ConfigMap").next().map(|map| text(map, "/metadata/name"));
    let is_mounted = deployed.mounts().any(|(path, volume)| {
        let volume = deployed.volume(volume).map(|volume| text(volume, "/configMap/name"));
        file.parent() == Some(path) && volume == map
    });
    all.extend(unless(is_mounted && file.ends_with("countersign.toml"), "the configuration is mounted elsewhere"));
    for secret in secrets(deployed.toml) {
        let file = Path::new(super::super::SECRETS).join(secret);
        let mounted = deployed.mounts().find(|(path, _)| file.parent() == Some(path));
        let secret = mounted.and_then(|(_, volume)| deployed.volume(volume)?.get("secret"));
        // Read by the group of the pod, and by nobody else.
        let is_closed = secret.is_some_and(|secret| secret["defaultMode"] == 0o440);
        all.extend(unless(is_closed, format!("no Secret is mounted for {}, or one that all may read", file.display())));
    }
    all
}

/// A directory of its own in a volume that stays and is large enough.
fn spool(deployed: &Deployed<'_>) -> Vec<String> {
    let audit = &deployed.config.audit;
    let mounted = deployed.mounts().find(|(path, _)| audit.spool.starts_with(path) && audit.spool != *path);
    let claims = list(deployed.set(), "/spec/volumeClaimTemplates").iter();
    let claim =
        mounted.and_then(|(_, volume)| claims.into_iter().find(|claim| text(claim, "/metadata/name") == volume));
    let Some(claim) = claim else { return vec!["the spool is no directory in a volume that stays".to_owned()] };
    let storage = text(claim, "/spec/resources/requests/storage");
    let size = storage.strip_suffix("Gi").and_then(|gib| gib.parse::<u64>().ok()).unwrap_or_default() << 30;
    let kept = &deployed.set()["spec"]["persistentVolumeClaimRetentionPolicy"];
    let policy = text(deployed.pod(), "/securityContext/fsGroupChangePolicy");
    [
        unless(
            size >= audit.max_size + audit.max_size / 10,
            format!("{storage} are smaller than the spool and a tenth"),
        ),
        unless(kept["whenDeleted"] == "Retain" && kept["whenScaled"] == "Retain", "undelivered records are deleted"),
        unless(policy == "OnRootMismatch", "fsGroupChangePolicy makes the spool writable by its group"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn asks(container: &Value, probe: &str, path: &str, admin: &str) -> bool {
    let asked = &container[probe]["httpGet"];
    asked["path"] == path && asked["port"] == admin
}

fn probes(deployed: &Deployed<'_>) -> Vec<String> {
    let port = u64::from(deployed.config.admin.address.port());
    let admin = deployed.ports().into_iter().find(|(_, number)| *number == port).map_or("", |(name, _)| name);
    let container = deployed.container();
    let reachable = !deployed.config.admin.address.ip().is_loopback();
    [
        unless(reachable, "the kubelet does not reach the admin listener"),
        unless(asks(container, "livenessProbe", "/livez", admin), "the liveness probe asks something else"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whatever selects pods selects these.
fn selectors(deployed: &Deployed<'_>) -> Vec<String> {
    let labels = &deployed.set()["spec"]["template"]["metadata"]["labels"];
    let selects = |selector: &Value| {
        let wanted = selector.as_object().filter(|wanted| !wanted.is_empty());
        wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
    };
    let places = [
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("StatefulSet", "/spec/selector/matchLabels"),
    ];
    let all = places.into_iter().flat_map(|(kind, place)| {
        deployed.of_kind(kind).filter(move |document| !document.pointer(place).is_some_and(selects)).map(move |_| kind)
    });
    all.map(|kind| format!("a {kind} selects other pods")).collect()
}

/// The policy lets through what the configuration names, and no other port.
fn whole_network(deployed: &Deployed<'_>) -> Vec<String> {
    let Some(policy) = deployed.of_kind("NetworkPolicy").next() else { return Vec::new() };
    let ports = |way: &str| -> Vec<&Value> {
        let rules = list(policy, way).iter();
        rules.flat_map(|rule| list(rule, "/ports")).map(|port| &port["port"]).collect()
    };
    let inward: BTreeSet<&str> = ports("/spec/ingress").into_iter().filter_map(Value::as_str).collect();
    let named: BTreeSet<&str> = deployed.ports().into_keys().collect();
    let outward: BTreeSet<u64> = ports("/spec/egress").into_iter().filter_map(Value::as_u64).collect();
    let Config { authorizers, kafka, otlp, .. } = deployed.config;
    let brokers = kafka.iter().flat_map(|kafka| &kafka.brokers).filter_map(|broker| broker.rsplit(':').next());
    let needed: BTreeSet<u64> = (authorizers.iter().map(|authorizer| u64::from(authorizer.url.port)))
        .chain(otlp.iter().map(|otlp| otlp.endpoint.port.into()))
        .chain(brokers.filter_map(|port| port.parse().ok()))
        .chain([53])
        .collect();
    [
        unless(inward == named, format!("the way in is open for {inward:?} instead of {named:?}")),
        unless(outward == needed, format!("the way out is open for {outward:?} instead of {needed:?}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Several of them behind a Service.
fn fleet(deployed: &Deployed<'_>) -> Vec<String> {
    let (pod, container) = (deployed.pod(), deployed.container());
    let readiness = &container["readinessProbe"];
    // Who is deleted is taken out without it, and one late answer must not take a strained fleet out together.
    let patient = readiness["failureThreshold"].as_u64() >= Some(3) && readiness["timeoutSeconds"].as_u64() >= Some(2);
    let apart = list(pod, "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    let labels = deployed.set()["spec"]["template"]["metadata"].get("labels");
    let is_apart = apart.iter().any(|term| {
        term["topologyKey"] == "kubernetes.io/hostname" && term["labelSelector"].get("matchLabels") == labels
    });
    let services: Vec<&Value> = deployed.of_kind("Service").collect();
    let asked = services.iter().find(|service| service["metadata"]["name"] == "countersign");
    let drains = asked.is_none_or(|service| service["spec"].get("publishNotReadyAddresses").is_some());
    let governing = text(deployed.set(), "/spec/serviceName");
    let is_named = services.iter().any(|service| text(service, "/metadata/name") == governing);
    [
        unless(asks(container, "readinessProbe", "/readyz", "admin"), "nothing says who is ready"),
        unless(patient, "one late answer takes an instance out"),
        unless(is_apart, "two may run on one node"),
        unless(!drains, "MinIO is sent to who drains"),
        unless(is_named, "the instances have no names"),
        unless(deployed.of_kind("PodDisruptionBudget").count() == 1, "all may be moved at once"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// In MinIO's pod: before it, beside it, after it.
fn beside_minio(deployed: &Deployed<'_>) -> Vec<String> {
    let listen = &deployed.config.listen;
    let container = deployed.container();
    let admin = deployed.ports().into_keys().next().unwrap_or_default();
    let minio = deployed.containers().find(|container| container["name"] == "minio");
    let environment = minio.map_or(&[][..], |minio| list(minio, "/env")).iter();
    let mut urls = environment.filter(|variable| variable["name"] == "MINIO_POLICY_PLUGIN_URL");
    let url = urls.next().map(|variable| text(variable, "/value")).unwrap_or_default();
    let first = list(deployed.pod(), "/initContainers").iter().any(|container| container["name"] == "countersign");
    [
        unless(first && container["restartPolicy"] == "Always", "nothing stays up before MinIO"),
        unless(asks(container, "startupProbe", "/readyz", admin), "no startup probe holds MinIO back"),
        unless(container.get("readinessProbe").is_none(), "readiness is MinIO's to say"),
        unless(listen.address.ip().is_loopback(), "others reach the decision endpoint"),
        unless(url == format!("http://{}{}", listen.address, listen.path), format!("MinIO asks at `{url}`")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
