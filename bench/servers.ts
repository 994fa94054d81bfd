/**
 * `npm run servers`: a real replica set and a real RabbitMQ to try things on, for as long as it runs; their data goes with them.
 */
import { once } from 'node:events';
import { startMongo, startRabbit } from '../test/servers/index.ts';

const progress = (line: string): void => console.log(line);

progress('Bringing up mongod and RabbitMQ …');
const started = await Promise.allSettled([startMongo({ progress }), startRabbit({ progress })]);
try {
  const [mongo, rabbit] = started;
  if (mongo.status === 'rejected') throw mongo.reason;
  if (rabbit.status === 'rejected') throw rabbit.reason;
  console.log('They run until Ctrl-C, and their data goes with them. In another shell:');
  console.log(`  export MONGODB_URI='${mongo.value.uri}' AMQP_URI='${rabbit.value.uri}'`);
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
} finally {
  for (const start of started) if (start.status === 'fulfilled') await start.value.stop();
}
