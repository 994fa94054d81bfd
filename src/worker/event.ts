/**
 * One change event that is about to be written, as places in the batch's bytes (-1: not there). The encoder fills the same
 * object for every event; the JSON and the BSON writer read it.
 */
import { textWords } from './output.ts';
import type { Words } from './output.ts';
import type { Route } from './route.ts';
import { UpdateDescription } from './update.ts';

export class EventView {
  bytes: Uint8Array = new Uint8Array(0);
  /** Of the source, with the colon: "shop:". */
  idPrefix: Words = textWords('');
  route: Route;
  /** One of `Crud`. */
  crud = 0;
  seconds = 0;
  increment = 0;
  index = 0;
  /** Where a date's value lies, if events of this server carry it. */
  wall = -1;
  /** The first byte that does not belong to the operation. */
  limit = 0;
  fullDocument = -1;
  documentKey = -1;
  /** For an insert without a key document: where the full document's `_id` element starts. */
  idElement = -1;
  /** Only in a transaction. */
  lsid = -1;
  txnNumber = -1;
  readonly update = new UpdateDescription();

  constructor(route: Route) {
    this.route = route;
  }
}
