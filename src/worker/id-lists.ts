/** `_id`s to ask the server for, as BSON arrays of a length that it answers soon. */
import { Documents, putElement } from './documents.ts';
import { encodeText } from './bson.ts';
import type { Ids } from './protocol.ts';

/** Documents that lie scattered on a slow disk take their time, and one answer has only so much. */
const MOST = 500;

export class IdLists {
  readonly #full: Ids[] = [];
  #list = new Documents();
  #start = this.#list.begin();
  #count = 0;

  /** The next one: whoever calls writes its value to what is returned. */
  next(type: number): Documents {
    if (this.#count === MOST) this.#close();
    putElement(this.#list, type, encodeText(String(this.#count++)));
    return this.#list;
  }

  /** All of them; nothing more comes. */
  finish(): readonly Ids[] {
    if (this.#count > 0) this.#close();
    return this.#full;
  }

  #close(): void {
    this.#list.end(this.#start);
    this.#full.push({ ids: this.#list.bytes.slice(0, this.#list.length), count: this.#count });
    this.#list = new Documents();
    this.#start = this.#list.begin();
    this.#count = 0;
  }
}
