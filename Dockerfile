# The container image: the binary and what it is linked with, and no shell. Built by any engine that understands a plain
# Dockerfile (docker, podman, buildah; with the last two `--format docker`, or HEALTHCHECK is lost):
#
#     docker build --build-arg VERSION=0.1.0 --build-arg COUNTERSIGN_COMMIT="$(git rev-parse HEAD)" --tag countersign .
#
# The bases are pinned by tag, so that a rebuild gets their security updates. A release that must be built again bit for bit
# gives digests instead: --build-arg RUST=docker.io/library/rust@sha256:… --build-arg DEBIAN=….
# .ci/image builds it and runs what comes out.
ARG RUST=docker.io/library/rust:1.95.0-bookworm
ARG DEBIAN=docker.io/library/debian:bookworm-slim

# What Cargo knows of the workspace without its code: manifests, and empty targets. Changes with dependencies only.
FROM ${RUST} AS manifests
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proxy/Cargo.toml proxy/
COPY loadtest/Cargo.toml loadtest/
RUN mkdir -p proxy/src proxy/benches proxy/tests/integration loadtest/src \
 && echo 'fn main() {}' | tee proxy/src/main.rs proxy/benches/decision.rs proxy/tests/integration/main.rs > loadtest/src/main.rs \
 && touch proxy/src/lib.rs loadtest/src/lib.rs

# The dependencies, OpenSSL and librdkafka among them, in a layer that a change of the code leaves as it is; then the code.
FROM manifests AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake \
 && rm -rf /var/lib/apt/lists/* \
 && cargo build --release --locked --package countersign
ARG COUNTERSIGN_COMMIT=
ENV COUNTERSIGN_COMMIT=${COUNTERSIGN_COMMIT}
COPY proxy proxy
# `touch`: a file that is older than the empty one it replaces would be taken for built. `strip`: lines for a debugger are
# four fifths of the binary; names of functions stay, for backtraces.
RUN touch proxy/src/main.rs proxy/src/lib.rs \
 && cargo build --release --locked --package countersign \
 && strip --strip-debug target/release/countersign

# What is in it: the bill of materials, and the licences of what is linked.
FROM ${RUST} AS tools
RUN cargo install --locked cargo-cyclonedx@0.5.9

FROM manifests AS bill
COPY --from=tools /usr/local/cargo/bin/cargo-cyclonedx /usr/local/cargo/bin/
COPY .ci/licences .ci/
RUN cargo fetch --locked \
 && cargo cyclonedx --quiet --manifest-path proxy/Cargo.toml --format json --spec-version 1.5 --override-filename sbom.cdx \
 && .ci/licences > third-party-licences.txt

# The image's files: the C library and the other two that `ldd` names, whom to trust, and who to be. dpkg's words about those
# packages come along, where scanners look for them.
FROM ${DEBIAN} AS root
RUN apt-get update \
 && apt-get upgrade --yes \
 && apt-get install --yes --no-install-recommends ca-certificates libc6 libgcc-s1
COPY --from=build /src/target/release/countersign /image/usr/local/bin/
RUN set -eu; cd /image; \
    ldd usr/local/bin/countersign | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory .; \
    mkdir -p var/lib/dpkg/status.d usr/share/doc/countersign; \
    for package in base-files ca-certificates libc6 libgcc-s1; do \
        dpkg-query --status "$package" > "var/lib/dpkg/status.d/$package"; \
        cp --parents --dereference "/usr/share/doc/$package/copyright" .; \
    done; \
    cp --parents --dereference /etc/ssl/certs/ca-certificates.crt /etc/os-release /etc/debian_version .; \
    echo 'root:x:0:0::/:/nonexistent' > etc/passwd; \
    echo 'countersign:x:10001:10001::/var/lib/countersign:/nonexistent' >> etc/passwd; \
    printf 'root:x:0:\ncountersign:x:10001:\n' > etc/group; \
    echo 'hosts: files dns' > etc/nsswitch.conf; \
    install -d -m 1777 tmp; \
    install -d -m 0755 etc/countersign; \
    install -d -m 0700 /volume/countersign
COPY LICENSE /image/usr/share/doc/countersign/
COPY --from=bill /src/proxy/sbom.cdx.json /src/third-party-licences.txt /image/usr/share/doc/countersign/

FROM scratch
COPY --from=root /image/ /
COPY --from=root --chown=10001:10001 /volume/ /var/lib/
# A number, so that an engine can see that it is not root. Who mounts a volume there gives it to this user, or names a
# directory inside it as the spool (docs/INSTALL.md).
USER 10001:10001
VOLUME /var/lib/countersign
EXPOSE 8281 9281
STOPSIGNAL SIGTERM
# Whether the process answers, and nothing else: one that cannot reach its disk or Kafka denies, and a restart would mend
# nothing. Of the default address; COUNTERSIGN_ADMIN=http://host:port names another.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/countersign", "check", "--alive"]
ENTRYPOINT ["/usr/local/bin/countersign"]
CMD ["serve", "--config", "/etc/countersign/countersign.toml"]
ARG VERSION=
ARG COUNTERSIGN_COMMIT=
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="Audit-logging decision proxy between MinIO's access management webhook and its authorizers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COUNTERSIGN_COMMIT}"
