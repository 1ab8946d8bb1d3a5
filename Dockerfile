# syntax=docker/dockerfile:1
# Image of the operator: one binary, no shell, no root, without the embedded control plane (`--no-default-features`).
# docs/install.md describes reproducible builds. A digest after the tag pins the base images.
ARG RUST=rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
# use the toolchain of the image, so that rustup does not download another one
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_INCREMENTAL=0
WORKDIR /src
COPY Cargo.toml Cargo.lock askama.toml ./
COPY crates ./crates
COPY src ./src
# keep build paths out of the binary, so that the same sources produce the same image
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo" \
    cargo build --release --locked --package signoff --no-default-features \
 && cp target/release/signoff /signoff

# C library, certificates and time zones; user 65532
FROM ${BASE}
COPY --from=build /signoff /usr/local/bin/signoff
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/signoff"]
CMD ["operator"]
