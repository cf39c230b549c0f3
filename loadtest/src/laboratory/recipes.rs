//! How each part is made, and the answer to "where is it": a directory of the cache, or a program of the machine.

use super::error::{Error, Result};
use super::install::{Recipe, Workbench, on_path, run, say};
use super::versions;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GO: (&str, &str) = ("go", "install Go 1.24 or newer");
const MAVEN: (&str, &str) = ("mvn", "install Maven (Debian: apt-get install maven)");
const JAVA: (&str, &str) = ("java", "install a Java 17 runtime (Debian: apt-get install default-jre-headless)");

const PIP: (&str, &str) = ("pip3", "install Python 3.11 or newer with pip (Debian: apt-get install python3-pip)");

const KAFKA_LOGGING: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

/// A directory with Kafka's classes in `libs/`.
pub(super) fn kafka(cache: &Path) -> Result<PathBuf> {
    let recipe =
        Recipe { part: "kafka".into(), version: versions::KAFKA.into(), takes: "about 15 s", needs: &[MAVEN, JAVA] };
    recipe.once(cache, |bench| {
        bench.write("pom.xml", &kafka_pom())?;
        bench.write("log4j2.properties", KAFKA_LOGGING)?;
        let libs = format!("-DoutputDirectory={}", bench.home.join("libs").display());
        bench.run(Command::new("mvn").current_dir(bench.home).args(["-B", "-q", "dependency:copy-dependencies", &libs]))
    })
}

/// Kafka is run by Java, which may have gone since Kafka was installed.
pub(super) fn java() -> Result<PathBuf> {
    let (tool, hint) = JAVA;
    let missing = || Error::Missing { tool: tool.to_owned(), part: "kafka".to_owned(), hint: hint.to_owned() };
    on_path(tool).ok_or_else(missing)
}

pub(super) fn minio(cache: &Path) -> Result<PathBuf> {
    go_install(cache, "minio", versions::MINIO, versions::MINIO_MODULE, "about 200 s")
}

pub(super) fn mc(cache: &Path) -> Result<PathBuf> {
    go_install(cache, "mc", versions::MC, versions::MC_MODULE, "about 60 s")
}

pub(super) fn opa(cache: &Path) -> Result<PathBuf> {
    go_install(cache, "opa", versions::OPA, versions::OPA_MODULE, "about 60 s")
}

/// The OpenTelemetry collector with an OTLP receiver and the exporter that prints.
pub(super) fn collector(cache: &Path) -> Result<PathBuf> {
    let version = versions::COLLECTOR;
    let recipe = Recipe { part: "collector".into(), version: version.into(), takes: "about 70 s", needs: &[GO] };
    let home = recipe.once(cache, |bench| {
        let work = tempfile::tempdir().map_err(Error::io("making a directory"))?;
        bench.run(go().env("GOBIN", work.path()).args(["install", versions::COLLECTOR_BUILDER_MODULE]))?;
        let plan = work.path().join("plan.yaml");
        let out = work.path().join("out");
        fs::write(&plan, collector_plan(&out)).map_err(Error::path("writing", &plan))?;
        let mut builder = Command::new(work.path().join("builder"));
        bench.run(builder.env("CGO_ENABLED", "0").arg("--config").arg(&plan))?;
        let made = bench.home.join("collector");
        fs::copy(out.join("collector"), &made).map_err(Error::path("copying the collector to", &made)).map(drop)
    })?;
    Ok(home.join("collector"))
}

pub(super) fn kustomize(cache: &Path) -> Result<PathBuf> {
    go_install(cache, "kustomize", versions::KUSTOMIZE, versions::KUSTOMIZE_MODULE, "about 40 s")
}

pub(super) fn actionlint(cache: &Path) -> Result<PathBuf> {
    go_install(cache, "actionlint", versions::ACTIONLINT, versions::ACTIONLINT_MODULE, "about 15 s")
}

/// A directory with the definitions of the Prometheus operator's resources, a YAML file each.
pub(super) fn custom_resources(cache: &Path) -> Result<PathBuf> {
    let (version, module) = (versions::PROMETHEUS_OPERATOR, versions::PROMETHEUS_OPERATOR_MODULE);
    let recipe =
        Recipe { part: "operator-definitions".into(), version: version.into(), takes: "a few seconds", needs: &[GO] };
    recipe.once(cache, |bench| {
        let modules = tempfile::tempdir().map_err(Error::io("making a directory"))?;
        let mut download = go();
        download.current_dir(modules.path()).env("GOMODCACHE", modules.path()).env("GOFLAGS", "-modcacherw");
        bench.run(download.args(["mod", "download", module]))?;
        let definitions = modules.path().join(module).join("example/prometheus-operator-crd");
        for kind in ["servicemonitors", "podmonitors", "prometheusrules"] {
            let name = format!("monitoring.coreos.com_{kind}.yaml");
            let made = bench.home.join(&name);
            fs::copy(definitions.join(&name), &made).map_err(Error::path("copying to", &made))?;
        }
        Ok(())
    })
}

pub(super) fn nginx() -> Result<PathBuf> {
    debian("nginx", versions::NGINX_PACKAGE)
}

pub(super) fn prometheus() -> Result<PathBuf> {
    debian("prometheus", versions::PROMETHEUS_PACKAGE)
}

/// A program of the machine, installed from the distribution's packages when it is missing and we may.
pub(super) fn debian(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = on_path(program) {
        return Ok(path);
    }
    let missing = || Error::Missing {
        tool: program.to_owned(),
        part: program.to_owned(),
        hint: format!("install it, for instance with `apt-get install {package}` as root"),
    };
    if !rustix::process::geteuid().is_root() || on_path("apt-get").is_none() {
        return Err(missing());
    }
    say(&format!("installing the package {package} …"));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(program, apt().args(["-q", "-o", "DPkg::Lock::Timeout=300", "update"]))?;
    let install = ["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install", package];
    run(program, apt().args(install))?;
    on_path(program).ok_or_else(missing)
}

/// A directory for `PYTHONPATH` with the packages of a `requirements.txt`, named by a hash of that file.
pub(super) fn python_packages(cache: &Path, requirements: &Path) -> Result<PathBuf> {
    let text = fs::read(requirements).map_err(Error::path("reading", requirements))?;
    let version = blake3::hash(&text).to_hex().chars().take(16).collect();
    let recipe = Recipe { part: "python".into(), version, takes: "a few seconds", needs: &[PIP] };
    recipe.once(cache, |bench| {
        let mut python = Command::new("python3");
        python.args(["-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--target"]).arg(bench.home);
        bench.run(python.arg("--requirement").arg(requirements))
    })
}

/// A program of our own, named by a hash of its source.
pub(super) fn go_program(cache: &Path, name: &str, source: &Path) -> Result<PathBuf> {
    let version = super::go_program::fingerprint(source)?;
    let recipe = Recipe { part: format!("go-{name}"), version, takes: "a few seconds", needs: &[GO] };
    let home = recipe.once(cache, |bench| {
        let out = bench.home.join(name);
        bench.run(go().current_dir(source).args(["build", "-buildvcs=false", "-o"]).arg(out).arg("."))
    })?;
    Ok(home.join(name))
}

fn go_install(cache: &Path, part: &str, version: &str, module: &str, takes: &'static str) -> Result<PathBuf> {
    let recipe = Recipe { part: part.to_owned(), version: version.to_owned(), takes, needs: &[GO] };
    let make = |bench: &Workbench<'_>| bench.run(go().env("GOBIN", bench.home).args(["install", module]));
    Ok(recipe.once(cache, make)?.join(part))
}

/// The Go tool, without cgo: what it makes then needs no C compiler here and no C library there.
fn go() -> Command {
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0");
    command
}

fn kafka_pom() -> String {
    let wanted = [
        ("org.apache.kafka", "kafka_2.13", versions::KAFKA),
        ("org.apache.kafka", "kafka-tools", versions::KAFKA),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", versions::LOG4J),
        ("org.apache.logging.log4j", "log4j-core", versions::LOG4J),
    ];
    let dependencies: String = wanted
        .iter()
        .map(|(group, artifact, version)| {
            format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n")
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>laboratory</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

fn collector_plan(out: &Path) -> String {
    let version = versions::COLLECTOR;
    format!(
        "dist:\n  name: collector\n  output_path: {}\n\
         receivers:\n  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{version}\n\
         exporters:\n  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v{version}\n",
        out.display()
    )
}
