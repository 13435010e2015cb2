# The command `soundhash-webhook`. In front of a service in another language, it verifies deliveries
# and passes them on:
#
#   docker build --tag soundhash-webhook .
#   docker run --env SOUNDHASH_WEBHOOK_SECRET --publish 3000:3000 --stop-timeout 40 \
#       soundhash-webhook listen --addr 0.0.0.0:3000 --inspect off --forward http://app:8080/hooks
#
# The command waits up to 30 s for the responses of the service before it stops, so the container needs
# a longer time than that. The default is 10 s in Docker, and 30 s in Kubernetes.
FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo install --locked --path crates/cli --root /install

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home soundhash
COPY --from=build /install/bin/soundhash-webhook /usr/local/bin/
# A number, so that Kubernetes can check that it is not root.
USER 10001
EXPOSE 3000
ENTRYPOINT ["soundhash-webhook"]
# Without arguments, the container prints the help and fails. `listen` without `--forward` would
# accept deliveries and discard them.
CMD []
