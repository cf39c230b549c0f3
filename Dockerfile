# Two stages: the toolchain stays behind. Built with any engine that understands a plain Dockerfile.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY proxy proxy
COPY loadtest loadtest
RUN cargo build --release --locked --package countersign

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/countersign --create-home countersign \
 && chmod 0700 /var/lib/countersign
COPY --from=build /src/target/release/countersign /usr/local/bin/countersign
USER 10001
VOLUME /var/lib/countersign
EXPOSE 8281 9281
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/countersign"]
CMD ["serve", "--config", "/etc/countersign/countersign.toml"]
