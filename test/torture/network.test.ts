import { NETWORK_CASES } from './cases/network.ts';
import { shortForms } from './short.ts';

shortForms(NETWORK_CASES);
