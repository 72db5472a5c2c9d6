# syntax=docker/dockerfile:1
# The image of Usher: one program, no shell, no root.
#
#   docker build --tag usher:0.1.0 .
#
# Tags have no `v` before the version: an operator of Authorino takes images with the tags v0.0.x to v0.10.x for very old
# ones, and passes them environment variables instead of arguments.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
# Members of the workspace: cargo wants to see their manifests, and builds nothing of them.
COPY tests tests
COPY benches benches
# Without line numbers, which are most of a program.
ENV CARGO_PROFILE_RELEASE_DEBUG=none
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package usher-cli && \
    install -D target/release/usher /out/usher

# glibc, libgcc and the authorities of the web; the user `nonroot` is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Usher" \
      org.opencontainers.image.description="Decides for Envoy-based gateways whether a request may pass" \
      org.opencontainers.image.source="https://github.com/usher-authz/usher" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/usher /usher
COPY LICENSE /LICENSE
USER 65532:65532
# gRPC, plain HTTP, keys of issued tokens, metrics, probes, admission webhook
EXPOSE 50051 5001 8083 8080 8081 9443
# Whoever runs the image adds arguments, such as an operator; they must follow the sub-command.
ENTRYPOINT ["/usher", "server"]
