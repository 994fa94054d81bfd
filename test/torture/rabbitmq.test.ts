import { RABBITMQ_CASES } from './cases/rabbitmq.ts';
import { shortForms } from './short.ts';

shortForms(RABBITMQ_CASES);
