import type { DataSource, Method, ModelSource } from "../../src/client/types.ts";
import type { DataChoice, Draft, MethodChoice } from "../jobs.ts";

/** The address of a page that shows a recipe: this, then the recipe. */
export const LINK = "#/recipe/";
const VERSION = 1;
/** Characters of a link: longer ones do not survive chats and mails. */
const MOST = 8000;

/** Fields that a link never carries: keys, and files of this machine. */
const PRIVATE = /(?:^|_)(?:api_?)?key(?:$|_)|(?:^|_)hub_token$|password|secret/i;

/** What a link holds of a draft. */
interface Linked {
  v: number;
  name: string;
  model: ModelSource | null;
  data: DataChoice;
  method: MethodChoice;
  recipes: Partial<Record<Method, Record<string, unknown>>>;
  evaluate: { data: DataSource; problems: number } | null;
}

/** Whether a source is the same on every machine. */
const isShared = ({ kind }: { kind: string }) => kind === "hub" || kind === "embedded";

/**
 * A link to a draft. Model and data of this machine are left out, and keys too.
 *
 * @param methods of the draft's phases
 * @returns the hash of the address; null if it would be too long
 */
export function linkOf(draft: Draft, methods: readonly Method[]): string | null {
  const { name, model, data, method, recipes, evaluate } = draft;
  const linked: Linked = {
    v: VERSION,
    name,
    model: model && isShared(model) ? model : null,
    data: data && isShared(data) ? data : null,
    method,
    recipes: Object.fromEntries(methods.map((one) => [one, withoutKeys(recipes[one])])),
    evaluate: evaluate && isShared(evaluate.data) ? evaluate : null,
  };
  const bytes = new TextEncoder().encode(JSON.stringify(linked));
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const text = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return text.length > MOST ? null : LINK + text;
}

function withoutKeys(recipe: Record<string, unknown>): Record<string, unknown> {
  const own = ([name, value]: [string, unknown]) => !PRIVATE.test(name) && !namesFile(value);
  return Object.fromEntries(Object.entries(recipe).filter(own));
}

/** Whether a value names a file of this machine, such as a reward's module. */
function namesFile(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(namesFile);
  return typeof value === "string" && /^(?:\.{1,2}\/|\/|file:|blob:)/.test(value);
}

const METHODS: Record<MethodChoice, readonly Method[]> = {
  sft: ["sft"],
  grpo: ["grpo"],
  dpo: ["dpo"],
  both: ["sft", "grpo"],
};

/**
 * The draft of a link's text. Recipe fields are checked where the form shows them.
 *
 * @throws {Error} the text is no draft
 */
export function draftOfLink(text: string): Draft {
  const broken = new Error(
    "This link holds no recipe that this page can read. It may have been cut when it was copied.",
  );
  if (text.length > MOST || !/^[\w-]+$/.test(text)) throw broken;
  let linked: Partial<Linked>;
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    linked = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))),
    );
  } catch {
    throw broken;
  }
  const { v, name, model = null, data = null, method, recipes, evaluate = null } = linked ?? {};
  const known = typeof method === "string" && Object.hasOwn(METHODS, method);
  if (v !== VERSION || !known || typeof recipes !== "object" || recipes === null) throw broken;
  const given = recipes as Record<string, unknown>;
  const fieldsOf = (one: Method) => (Object.hasOwn(given, one) && isFields(given[one]) ? withoutKeys(given[one]) : {});
  return {
    name: typeof name === "string" ? name.slice(0, 80) : "",
    model: modelOf(model),
    data: dataOf(data),
    method,
    recipes: { sft: fieldsOf("sft"), grpo: fieldsOf("grpo"), dpo: fieldsOf("dpo") },
    forms: Object.fromEntries(METHODS[method].map((one) => [one, { preset: "", values: fieldsOf(one) }])),
    evaluate: evaluationOf(evaluate),
    touched: true,
  };
}

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A name on the hub: `owner/name`. */
const isHubId = (id: unknown): id is string =>
  typeof id === "string" && /^(?!\.)[\w.-]{1,96}(?:\/(?!\.)[\w.-]{1,96})?$/.test(id);
const plain = (text: unknown) => (typeof text === "string" && text.length <= 96 ? text : undefined);

function modelOf(given: unknown): ModelSource | null {
  if (!isFields(given)) return null;
  if (given.kind === "embedded") return { kind: "embedded" };
  if (given.kind !== "hub" || !isHubId(given.id)) return null;
  const revision = plain(given.revision);
  return { kind: "hub", id: given.id, ...(revision && { revision }) };
}

function dataOf(given: unknown): Extract<DataChoice, { kind: "embedded" | "hub" }> | null {
  if (!isFields(given)) return null;
  if (given.kind === "embedded") return { kind: "embedded" };
  if (given.kind !== "hub" || !isHubId(given.id)) return null;
  const [config, split] = [plain(given.config), plain(given.split)];
  const columns = isFields(given.columns)
    ? Object.fromEntries(
        Object.entries(given.columns).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
      )
    : null;
  return { kind: "hub", id: given.id, ...(config && { config }), ...(split && { split }), ...(columns && { columns }) };
}

function evaluationOf(given: unknown): Draft["evaluate"] {
  if (!isFields(given)) return null;
  const data = dataOf(given.data);
  const problems = Math.round(Number(given.problems));
  if (!data || !(problems >= 1 && problems <= 1000)) return null;
  return { data: data.kind === "embedded" ? { kind: "embedded", rows: "prompts" } : data, problems };
}
