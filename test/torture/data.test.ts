import { DATA_CASES } from './cases/data.ts';
import { shortForms } from './short.ts';

shortForms(DATA_CASES);
