/** A form made from a JSON Schema. Fields that have no input of their own take JSON. */

import { useId } from "react";
import { JsonField } from "./json-field";
import { type Schema, blankOf, kindOf, labelOf, resolved, variantOf, variantsOf } from "./schema";

interface Props {
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
  /** Where `$ref` looks; the schema itself by default. */
  root?: Schema;
  /** The label of a value that is no object. */
  label?: string;
  /** Properties that are not asked for. */
  without?: readonly string[];
}

export function SchemaForm({ schema, value, onChange, root = schema, label = "Value", without = [] }: Props) {
  const whole = resolved(schema, root);
  const kind = kindOf(whole, root);
  if (kind === "object") return <Properties schema={whole} value={value} onChange={onChange} root={root} without={without} />;
  if (kind === "variants") return <Variants schema={whole} value={value} onChange={onChange} root={root} />;
  return <Field label={whole.title ?? label} schema={schema} root={root} value={value} onChange={onChange} needed />;
}

function Properties({ schema, value, onChange, root, without = [] }: Omit<Props, "root"> & { root: Schema }) {
  const given = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const needed = new Set(schema.required ?? []);
  const set = (name: string, to: unknown) => {
    const { [name]: _, ...others } = given;
    onChange(to === undefined ? others : { ...given, [name]: to });
  };
  return (
    <div className="form">
      {Object.entries(schema.properties ?? {})
        .filter(([name, part]) => !without.includes(name) && part.const === undefined)
        .map(([name, part]) => (
          <Field
            key={name}
            label={labelOf(name, resolved(part, root))}
            schema={part}
            root={root}
            value={given[name]}
            onChange={(to) => set(name, to)}
            needed={needed.has(name)}
            // Where nothing is required, the word would say nothing.
            told={needed.size > 0}
          />
        ))}
    </div>
  );
}

function Variants({ schema, value, onChange, root }: Omit<Props, "root"> & { root: Schema }) {
  const variants = variantsOf(schema, root);
  const at = variantOf(variants, value);
  const chosen = variants[at];
  return (
    <>
      <div className="choices" role="group" aria-label={schema.title ?? "Kind"}>
        {variants.map((one, index) => (
          <button
            type="button"
            key={one.name}
            className={`btn ${index === at ? "on" : ""}`}
            aria-pressed={index === at}
            onClick={() => onChange(blankOf(one.schema, root))}
          >
            {one.name}
          </button>
        ))}
      </div>
      {chosen !== undefined && <Properties schema={chosen.schema} value={value} onChange={onChange} root={root} />}
    </>
  );
}

interface FieldProps {
  label: string;
  schema: Schema;
  root: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
  needed: boolean;
  /** Whether it is told that it may be left empty. */
  told?: boolean;
}

function Field({ label, schema, root, value, onChange, needed, told = false }: FieldProps) {
  const id = useId();
  const whole = resolved(schema, root);
  const kind = kindOf(whole, root);
  const hint = whole.description && (
    <span className="hint" id={`${id} hint`}>
      {whole.description}
    </span>
  );
  const described = whole.description ? { "aria-describedby": `${id} hint` } : {};
  if (kind === "object" || kind === "variants") {
    return (
      <fieldset>
        <legend>{label}</legend>
        {hint}
        {kind === "object" ? (
          <Properties schema={whole} value={value} onChange={onChange} root={root} />
        ) : (
          <Variants schema={whole} value={value} onChange={onChange} root={root} />
        )}
      </fieldset>
    );
  }
  const name = (
    <label htmlFor={id}>
      {label}
      {told && !needed && <span className="faint"> optional</span>}
    </label>
  );
  return (
    <div className="ask">
      {name}
      {kind === "text" && (
        <textarea
          id={id}
          rows={1}
          value={typeof value === "string" ? value : ""}
          required={needed}
          {...described}
          onChange={(event) => onChange(event.target.value === "" && !needed ? undefined : event.target.value)}
        />
      )}
      {(kind === "number" || kind === "integer") && (
        <input
          id={id}
          type="number"
          step={kind === "integer" ? 1 : "any"}
          min={whole.minimum}
          max={whole.maximum}
          value={typeof value === "number" ? value : ""}
          required={needed}
          {...described}
          onChange={(event) => onChange(Number.isNaN(event.target.valueAsNumber) ? undefined : event.target.valueAsNumber)}
        />
      )}
      {kind === "boolean" && (
        <Choice id={id} options={[true, false]} words={["Yes", "No"]} value={value} needed={needed} onChange={onChange} />
      )}
      {kind === "choice" && <Choice id={id} options={whole.enum ?? []} value={value} needed={needed} onChange={onChange} />}
      {kind === "constant" && <output id={id}>{String(whole.const)}</output>}
      {kind === "json" && <JsonField id={id} value={value} onChange={onChange} rows={2} />}
      {hint}
    </div>
  );
}

function Choice(props: { id: string; options: unknown[]; words?: string[]; value: unknown; needed: boolean; onChange: (value: unknown) => void }) {
  const at = props.options.indexOf(props.value);
  return (
    <select id={props.id} className="field" value={at < 0 ? "" : at} onChange={(event) => props.onChange(event.target.value === "" ? undefined : props.options[Number(event.target.value)])}>
      {(at < 0 || !props.needed) && <option value="">{props.needed ? "Choose" : "Not set"}</option>}
      {props.options.map((option, index) => (
        <option key={index} value={index}>
          {props.words?.[index] ?? String(option)}
        </option>
      ))}
    </select>
  );
}
