/** What JavaScript calls: see `src/worker/transcoder.ts`. */
import { fillBsonTables } from './bson';
import { setRelaxed } from './json';
import { setPlaces } from './memory';
import { fillNumberTables } from './numbers';
import { fillTextTables } from './text';

export { putBsonEvent, putJsonDocument, putJsonEvent } from './event';
export { setPlaces, setRelaxed };

fillBsonTables();
fillNumberTables();
fillTextTables();

/** The first byte that is not the module's. */
export function free(): usize {
  return __heap_base;
}
