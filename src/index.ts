/** What a program gets that imports Tailrace. */
export { createEngine } from './library/engine.ts';
export type { CreateEngineOptions, EmbeddedEngine } from './library/engine.ts';
export { handle } from './library/events.ts';
export type {
  ChangeEvent,
  CommandEvent,
  DeleteEvent,
  DropDatabaseEvent,
  Handlers,
  InsertEvent,
  Namespace,
  RenameEvent,
  ReplaceEvent,
  ResyncEvent,
  TransactionBeginEvent,
  TransactionEndEvent,
  UpdateEvent,
} from './library/events.ts';
export { tail } from './library/tail.ts';
export type { TailOptions } from './library/tail.ts';
export { PositionLostError, UserError } from './errors.ts';
export type { UserErrorCode } from './errors.ts';
