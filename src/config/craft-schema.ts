/** The settings of a subscription that make of an event more, or less, than it is. */
import { z } from 'zod';
import { choice, template, text, written } from './leaves.ts';
import { TEMPLATE_NAMES } from './templates.ts';
import { ConditionFault, parseCondition, pathFault } from './where.ts';

/** A shorter one can be found by trying. */
const MIN_KEY_LENGTH = 16;

function paths() {
  const path = z.string({ error: 'a path such as address.street' }).superRefine((value, context) => {
    const fault = pathFault(value) ?? eventPathFault(value);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
  });
  return z.array(path).min(1, { error: 'at least one path' });
}

/** `where`, headers and routing keys do begin with these; here the mistake would hide nothing, without a word. */
const EVENT_PARTS: ReadonlySet<string> = new Set([
  'fullDocument',
  'fullDocumentBeforeChange',
  'documentKey',
  'updateDescription',
  'updatedFields',
]);

function eventPathFault(path: string): string | undefined {
  const [first, ...rest] = path.split('.');
  if (first !== undefined && rest.length > 0 && EVENT_PARTS.has(first)) {
    return `a path inside the document: ${rest.join('.')}, not ${path}`;
  }
  if (path.split('.').includes('*')) return 'a path of names: a star stands for nothing here';
  return undefined;
}

const where = written((value) => {
  try {
    return { ok: true, value: parseCondition(value) };
  } catch (error) {
    if (!(error instanceof ConditionFault)) throw error;
    return { ok: false, expected: `a condition such as {field: fullDocument.status, equals: paid}; ${error.message}` };
  }
});

export const craftShape = {
  cloudevents: z
    .strictObject({
      mode: choice('structured', 'binary').default('structured').meta({
        description: "structured: attributes and data in one JSON object; binary: attributes as the message's headers.",
      }),
      source: template().default('/{source}/{db}/{coll}').meta({
        description: 'The attribute `source`. A template, like routingKey.',
      }),
      type: template().default('mongodb.{operationType}').meta({
        description: 'The attribute `type`. A template, like routingKey.',
      }),
      headerPrefix: choice('cloudEvents:', 'cloudEvents_').default('cloudEvents:').meta({
        description: 'What headers begin with in binary mode.',
      }),
    })
    .prefault({})
    .meta({ description: 'Only with `format: cloudevents`.' }),
  compression: choice('none', 'gzip', 'zstd').default('none').meta({
    description:
      "Of message bodies (the property `contentEncoding`); the sink's maxMessageBytes then holds for what is sent.",
  }),
  headers: z
    .record(z.string(), template())
    .default({})
    .meta({
      description: `Headers of every message, each a template; it may hold ${TEMPLATE_NAMES}.`,
    }),
  fields: z
    .strictObject({
      include: paths().optional().meta({
        description: 'Only these fields of documents, by dotted paths; `_id` too, unless it is excluded.',
      }),
      exclude: paths().optional().meta({ description: 'Not these fields of documents.' }),
    })
    .prefault({})
    .meta({ description: 'Which fields of documents are delivered.' }),
  mask: z
    .array(
      z.strictObject({
        fields: paths().meta({ description: 'Fields whose values nobody gets, by dotted paths.' }),
        with: z
          .union([z.string(), z.number(), z.boolean(), z.null()], { error: 'a text, a number, true, false or null' })
          .optional()
          .meta({ description: 'What stands there instead.' }),
        hash: z
          .strictObject({
            key: text('a key')
              .refine((key) => key.length >= MIN_KEY_LENGTH, {
                error: `a key of at least ${MIN_KEY_LENGTH} characters: a shorter one can be found by trying`,
              })
              .meta({ description: 'The key, best as ${NAME}; it is never shown.' }),
            encoding: choice('hex', 'base64').default('hex').meta({ description: 'How the hash is written.' }),
          })
          .optional()
          .meta({ description: 'Instead: a keyed hash (HMAC-SHA-256) of the value.' }),
      }),
    )
    .default([])
    .meta({ description: 'Fields that are told as something else.' }),
  where: where.optional().meta({
    description: 'A condition on operation and fields; what does not meet it is not delivered.',
  }),
  whenUnknown: choice('deliver', 'skip').optional().meta({
    description:
      'Must be given with `where`: what to do with an event that does not carry what the condition asks about.',
  }),
};
