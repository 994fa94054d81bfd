/** One setting of a form: its name, its words, its value, and what is wrong with it. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { isMapping, withSetting } from './settings.ts';
import type { Mapping, Setting } from './settings.ts';

export interface Fault {
  readonly path: string;
  readonly expected: string;
}

interface FieldsProps {
  readonly settings: readonly Setting[];
  readonly value: Mapping;
  readonly faults: readonly Fault[];
  /** Names to choose from, by path. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  readonly change: (value: Mapping) => void;
}

export function Fields({ settings, value, faults, names, change }: FieldsProps): JSX.Element {
  return (
    <>
      {settings.map((setting) => (
        <Field
          key={setting.path}
          setting={setting}
          value={value[setting.name]}
          faults={faults}
          names={names}
          change={(next) => change(withSetting(value, setting.name, next))}
        />
      ))}
    </>
  );
}

interface FieldProps extends Pick<FieldsProps, 'faults' | 'names'> {
  readonly setting: Setting;
  readonly value: unknown;
  readonly change: (value: unknown) => void;
}

function Field({ setting, value, faults, names, change }: FieldProps): JSX.Element {
  const { path, name, description, shape } = setting;
  if (shape.kind === 'group' && (value === undefined || isMapping(value))) {
    return (
      <fieldset class="group">
        <legend>{name}</legend>
        {description !== '' && <p class="help">{plain(description)}</p>}
        <Fields
          settings={shape.settings}
          value={value ?? {}}
          faults={faults}
          names={names}
          change={(next) => change(Object.keys(next).length === 0 ? undefined : next)}
        />
      </fieldset>
    );
  }
  const own = faults.filter(
    (one) => one.path === path || one.path.startsWith(`${path}.`) || one.path.startsWith(`${path}[`),
  );
  const id = `field-${path.replaceAll('.', '-')}`;
  const about = {
    id,
    'aria-describedby': `${id}-help ${id}-fault`,
    'aria-invalid': own.length > 0,
    ...(setting.isRequired && { 'aria-required': true }),
  };
  return (
    <div class="field">
      {shape.kind === 'choices' ? (
        <span class="label" id={`${id}-label`}>
          {name}
        </span>
      ) : (
        <label class="label" for={id}>
          {name}
          {setting.isRequired && <small> needed</small>}
        </label>
      )}
      <Input setting={setting} value={value} change={change} about={about} options={names[path]} />
      <p class="help" id={`${id}-help`}>
        {plain(description)}
      </p>
      <p class="fault" id={`${id}-fault`}>
        {own.map(({ path: at, expected }) => (at === path ? expected : `${at}: ${expected}`)).join('; ')}
      </p>
    </div>
  );
}

interface InputProps {
  readonly setting: Setting;
  readonly value: unknown;
  readonly change: (value: unknown) => void;
  readonly about: {
    readonly id: string;
    readonly 'aria-describedby': string;
    readonly 'aria-invalid': boolean;
  };
  readonly options: readonly string[] | undefined;
}

function Input({ setting: { shape, usual, name }, value, change, about, options }: InputProps): JSX.Element {
  const isText = value === undefined || typeof value === 'string' || typeof value === 'number';
  const written = isText ? String(value ?? '') : '';
  const unsaid = usual === undefined ? '' : typeof usual === 'string' ? usual : JSON.stringify(usual);
  if (options && isText) {
    return <Select about={about} value={written} options={options} unsaid="–" change={change} />;
  }
  switch (shape.kind) {
    case 'choice':
      if (!isText) break;
      return (
        <Select
          about={about}
          value={written}
          options={shape.options}
          unsaid={unsaid === '' ? '–' : `${unsaid} (default)`}
          change={change}
        />
      );
    case 'flag':
      if (value !== undefined && typeof value !== 'boolean' && typeof value !== 'string') break;
      return (
        <Select
          about={about}
          value={value === undefined ? '' : String(value)}
          options={['true', 'false']}
          unsaid={unsaid === '' ? 'default' : `${unsaid} (default)`}
          change={(next) =>
            change(next === undefined ? undefined : next === 'true' ? true : next === 'false' ? false : next)
          }
        />
      );
    case 'choices': {
      if (value !== undefined && !isTexts(value)) break;
      const all = value ?? (isTexts(usual) ? usual : []);
      return (
        <div class="choices" role="group" {...about} aria-invalid={undefined} aria-labelledby={`${about.id}-label`}>
          {shape.options.map((option) => (
            <label key={option} class="check">
              <input
                type="checkbox"
                checked={all.includes(option)}
                onChange={({ currentTarget: { checked } }) =>
                  change(checked ? [...all, option] : all.filter((one) => one !== option))
                }
              />
              {option}
            </label>
          ))}
        </div>
      );
    }
    case 'lines':
      if (value !== undefined && !isTexts(value)) break;
      return <Lines key={name} about={about} value={value} change={change} />;
    case 'number':
    case 'text':
      if (!isText) break;
      return (
        <input
          {...about}
          value={written}
          placeholder={unsaid}
          spellcheck={false}
          autocomplete="off"
          {...(shape.kind === 'number' && { inputMode: 'numeric' as const })}
          onInput={({ currentTarget: { value: next } }) =>
            change(next === '' ? undefined : shape.kind === 'number' && /^\d{1,15}$/.test(next) ? Number(next) : next)
          }
        />
      );
    case 'group':
    case 'json':
      break;
  }
  return <JsonInput about={about} value={value} unsaid={unsaid} change={change} />;
}

interface SelectProps {
  readonly about: InputProps['about'];
  readonly value: string;
  readonly options: readonly string[];
  readonly unsaid: string;
  readonly change: (value: string | undefined) => void;
}

function Select({ about, value, options, unsaid, change }: SelectProps): JSX.Element {
  // A placeholder, for example.
  const all = value === '' || options.includes(value) ? options : [value, ...options];
  return (
    <select
      {...about}
      value={value}
      onChange={({ currentTarget }) => change(currentTarget.value === '' ? undefined : currentTarget.value)}
    >
      <option value="">{unsaid}</option>
      {all.map((one) => (
        <option key={one} value={one}>
          {one}
        </option>
      ))}
    </select>
  );
}

/** One a line; what is being typed is kept as it is. */
function Lines({
  about,
  value,
  change,
}: {
  about: InputProps['about'];
  value: readonly string[] | undefined;
  change: (value: unknown) => void;
}): JSX.Element {
  const [text, write] = useState((value ?? []).join('\n'));
  return (
    <textarea
      {...about}
      rows={Math.min(8, Math.max(2, text.split('\n').length))}
      spellcheck={false}
      value={text}
      placeholder="one a line"
      onInput={({ currentTarget }) => {
        write(currentTarget.value);
        const lines = currentTarget.value
          .split('\n')
          .map((line) => line.trim())
          .filter((line) => line !== '');
        change(lines.length === 0 ? undefined : lines);
      }}
    />
  );
}

export function JsonInput({
  about,
  value,
  unsaid,
  change,
  rows = 3,
}: {
  about: object;
  value: unknown;
  unsaid: string;
  change: (value: unknown) => void;
  rows?: number;
}): JSX.Element {
  const [text, write] = useState(value === undefined ? '' : JSON.stringify(value, undefined, 2));
  const [fault, setFault] = useState('');
  return (
    <>
      <textarea
        {...about}
        class="code"
        rows={Math.min(28, Math.max(rows, text.split('\n').length))}
        spellcheck={false}
        value={text}
        placeholder={unsaid === '' ? 'JSON' : unsaid}
        onInput={({ currentTarget: { value: next } }) => {
          write(next);
          if (next.trim() === '') {
            setFault('');
            change(undefined);
            return;
          }
          try {
            change(JSON.parse(next));
            setFault('');
          } catch (error) {
            setFault(error instanceof Error ? error.message : String(error));
          }
        }}
      />
      {fault !== '' && (
        <p class="fault" role="status">
          No JSON yet: {fault}
        </p>
      )}
    </>
  );
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

/** Descriptions mark code as Markdown does. */
function plain(text: string): string {
  return text.replaceAll('`', '');
}
