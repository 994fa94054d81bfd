import { MONGODB_CASES } from './cases/mongodb.ts';
import { shortForms } from './short.ts';

shortForms(MONGODB_CASES);
