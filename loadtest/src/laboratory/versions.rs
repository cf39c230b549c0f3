//! The version of every part, and nothing else: to move to a newer one, change it here and run the laboratory's tests.
//!
//! What comes from the distribution's packages (nginx, Prometheus, Chromium, kcat, jq, strace) has the distribution's version;
//! a report that compares with such a part names the version it found.

/// Kafka from Maven Central. Its classes are run directly, the distribution's shell scripts are not part of it.
pub(super) const KAFKA: &str = "4.1.0";
/// The logging that Kafka's classes look for; the line whose binding fits the slf4j 1.7 they are built with.
pub(super) const LOG4J: &str = "2.24.3";
/// The commit of MinIO (the last public one) and the Go pseudo-version that names it.
pub(super) const MINIO: &str = "7aac2a2c5b7c";
pub(super) const MINIO_MODULE: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";
/// MinIO's client.
pub(super) const MC: &str = "cf909e1063a9";
pub(super) const MC_MODULE: &str = "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9";
/// Open Policy Agent.
pub(super) const OPA: &str = "1.22.2";
pub(super) const OPA_MODULE: &str = "github.com/open-policy-agent/opa@v1.22.2";
/// The OpenTelemetry collector: the builder and the two components it is given.
pub(super) const COLLECTOR: &str = "0.165.0";
pub(super) const COLLECTOR_BUILDER_MODULE: &str = "go.opentelemetry.io/collector/cmd/builder@v0.165.0";
/// Kustomize: what `kubectl apply -k` has built in.
pub(super) const KUSTOMIZE: &str = "5.7.1";
pub(super) const KUSTOMIZE_MODULE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1";
/// The checker of GitHub's workflow files.
pub(super) const ACTIONLINT: &str = "1.7.12";
pub(super) const ACTIONLINT_MODULE: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";
/// The Prometheus operator, of which only the definitions of its resources are taken.
pub(super) const PROMETHEUS_OPERATOR: &str = "0.85.0";
pub(super) const PROMETHEUS_OPERATOR_MODULE: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
/// The package that holds nginx where the distribution is Debian.
pub(super) const NGINX_PACKAGE: &str = "nginx-light";
/// The package that holds Prometheus where the distribution is Debian.
pub(super) const PROMETHEUS_PACKAGE: &str = "prometheus";
/// The package that holds a browser where the distribution is Debian.
pub(super) const BROWSER_PACKAGE: &str = "chromium";
