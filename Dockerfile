# Tidemark in a small image: the binary, certificates, and nothing else that runs.
#
#   docker build -t tidemark .
#   docker run --rm -v "$PWD/examples:/work/examples:ro" tidemark run examples/trades/query.sql
FROM rust:1.94-bookworm AS build
# librdkafka and OpenSSL are built from source.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake make perl pkg-config g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p tidemark-cli \
    && install -D -s target/release/tidemark /out/tidemark

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --home-dir /work --uid 10001 tidemark
COPY --from=build /out/tidemark /usr/local/bin/tidemark
# By number, so that an orchestrator can see that it is not root.
USER 10001
WORKDIR /work
ENTRYPOINT ["tidemark"]
CMD ["--help"]
