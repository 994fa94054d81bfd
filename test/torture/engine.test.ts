import { ENGINE_CASES } from './cases/engine.ts';
import { shortForms } from './short.ts';

shortForms(ENGINE_CASES);
