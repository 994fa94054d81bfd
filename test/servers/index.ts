/** Real servers for the demo, the tests and the benches: theirs while they run, gone when they end. */
export { startMongo } from './mongo.ts';
export type { MongoOptions, MongoServer } from './mongo.ts';
export { OLDER_VERSIONS } from './older-mongod.ts';
export { startProxy } from './proxy.ts';
export type { Direction, Proxy, Reset } from './proxy.ts';
export { startRabbit } from './rabbit.ts';
export type { RabbitOptions, RabbitServer } from './rabbit.ts';
export { ServersUnavailable } from './unavailable.ts';
export type { Progress } from './unavailable.ts';
