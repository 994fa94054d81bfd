# syntax=docker/dockerfile:1
# Tailrace in a small image without a shell, that runs as nobody in particular, on a root that can be read only: docs/deploying.md.
ARG NODE_MAJOR=22

FROM node:${NODE_MAJOR}-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
COPY console console
COPY docs/errors docs/errors
COPY deploy/docker deploy/docker
# Owned by the user of the last stage, in which nothing can be run to make it.
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && find dist -name '*.map' -delete \
 && install -d -m 0700 -o 65532 -g 65532 data

FROM gcr.io/distroless/nodejs${NODE_MAJOR}-debian12:nonroot
LABEL org.opencontainers.image.title="Tailrace" \
      org.opencontainers.image.description="Reads a MongoDB replica set's oplog and delivers every change to RabbitMQ" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production \
    STATE_DIRECTORY=/var/lib/tailrace
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY --from=build /build/docs docs
COPY --from=build /build/deploy/docker/healthcheck.mjs ./
COPY --from=build --chown=65532:65532 /build/data /var/lib/tailrace
USER 65532:65532
VOLUME /var/lib/tailrace
EXPOSE 9464
# A clean stop: what is under way is confirmed, and nothing comes twice. Node is process 1 and hears it itself.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["/nodejs/bin/node", "/app/healthcheck.mjs"]
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/cli.js"]
CMD ["run", "--config", "/etc/tailrace/tailrace.yaml"]
