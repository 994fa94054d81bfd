/** `tailrace explain CODE`: the page of a code. */
import { readCode, readCodePage } from '../code-page.ts';
import { CODES } from '../codes.ts';
import { suggestion } from '../config/nearest.ts';
import { UserError } from '../errors.ts';
import { asJson, toStdout } from './output.ts';

export async function explain(code: string, write = toStdout, json = false): Promise<number> {
  // Only what is in the list becomes a path.
  const known = CODES.find((one) => one === code);
  if (known === undefined) {
    throw new UserError(
      'usage',
      `there is no code "${code}"${suggestion(code, CODES)} There are: ${CODES.toSorted().join(', ')}`,
    );
  }
  write(json ? asJson(await readCode(known)) : await readCodePage(known));
  return 0;
}
