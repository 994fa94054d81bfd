/** The image's health check, as it has no curl: exit code 0 while `/healthz` of the engine beside it answers 200. */
const url = process.env.TAILRACE_HEALTH_URL ?? 'http://127.0.0.1:9464/healthz';
const healthy = await fetch(url, { signal: AbortSignal.timeout(4_000) }).then(
  ({ ok }) => ok,
  () => false,
);
process.exit(healthy ? 0 : 1);
