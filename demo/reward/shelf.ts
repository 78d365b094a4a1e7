import type { Job, RewardSource } from "../../src/client/types.ts";

/** A module of the user's rewards, with the functions that it exports. */
export interface ShelfModule extends RewardSource {
  functions: string[];
}

const KEY = "qwench.rewards";
/** `./NAME` or `./NAME:EXPORT` in `reward_funcs`. */
const ENTRY = /^\.\/([^/\\:]+\.m?js)(?::([^/\\:]+))?$/;

/** The modules that this browser keeps, by name. */
export function shelf(): ShelfModule[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter(isModule) : [];
  } catch {
    return []; // no storage, or not ours
  }
}

/** Keeps a module in place of the one with its name. @throws {DOMException} the browser's storage is full or off */
export function keepModule(module: ShelfModule): void {
  const others = shelf().filter(({ name }) => name !== module.name);
  localStorage.setItem(KEY, JSON.stringify([...others, module].sort((a, b) => a.name.localeCompare(b.name))));
}

/**
 * Keeps the modules of a job, with the functions that its recipes name, where no module has their names: an earlier run's rewards
 * can then be used again. A module of that name stays, because it may be newer.
 *
 * @throws {DOMException} the browser's storage is full or off
 */
export function keepModulesOf({ phases }: Pick<Job, "phases">): void {
  for (const { modules = [], recipe } of phases) {
    const named = (Array.isArray(recipe.reward_funcs) ? recipe.reward_funcs : []).map((entry) =>
      partsOf(String(entry)),
    );
    for (const { name, text } of modules) {
      if (shelf().some((module) => module.name === name)) continue;
      const functions = named.flatMap((parts) => (parts?.name === name && parts.fn !== null ? [parts.fn] : []));
      keepModule({ name, text, functions: [...new Set(functions)] });
    }
  }
}

export function dropModule(name: string): void {
  localStorage.setItem(KEY, JSON.stringify(shelf().filter((module) => module.name !== name)));
}

/** The entry of `reward_funcs` for a function of a module. */
export function entryOf(name: string, fn: string): string {
  return `./${name}:${fn}`;
}

/** The module and function of an entry of `reward_funcs`; null if it names no module. */
export function partsOf(entry: string): { name: string; fn: string | null } | null {
  const found = ENTRY.exec(entry);
  return found && { name: found[1], fn: found[2] ?? null };
}

/** The kept modules that a recipe's `reward_funcs` names, for its phase. */
export function modulesOf(recipe: Readonly<Record<string, unknown>>): { modules?: RewardSource[] } {
  const entries = Array.isArray(recipe.reward_funcs) ? recipe.reward_funcs.map(String) : [];
  const names = new Set(entries.flatMap((entry) => partsOf(entry)?.name ?? []));
  if (names.size === 0) return {};
  const modules = shelf().filter(({ name }) => names.has(name));
  return { modules: modules.map(({ name, text }) => ({ name, text })) };
}

const DRAFT_KEY = "qwench.reward-draft";

/** What is being written in the editor, so that leaving the page loses nothing. `of`: the kept module; null: a new one. */
interface RewardDraft extends RewardSource {
  of: string | null;
}

/** The unsaved text of a module; null: there is none. */
export function rewardDraft(of: string | null): RewardSource | null {
  try {
    const draft = JSON.parse(sessionStorage.getItem(DRAFT_KEY) ?? "null") as RewardDraft | null;
    return draft && draft.of === of && typeof draft.text === "string" ? { name: draft.name, text: draft.text } : null;
  } catch {
    return null;
  }
}

/** Keeps the unsaved text until the tab closes; null: it is saved, or not wanted. */
export function keepDraft(draft: RewardDraft | null): void {
  try {
    if (draft) sessionStorage.setItem(DRAFT_KEY, JSON.stringify(draft));
    else sessionStorage.removeItem(DRAFT_KEY);
  } catch {
    // without storage the text is only in the editor
  }
}

/** A free name such as my-reward-2.mjs. */
export function freeName(): string {
  const taken = new Set(shelf().map(({ name }) => name));
  for (let i = 1; ; i++) {
    const name = i === 1 ? "my-reward.mjs" : `my-reward-${i}.mjs`;
    if (!taken.has(name)) return name;
  }
}

function isModule(value: unknown): value is ShelfModule {
  const { name, text, functions } = (value ?? {}) as Record<string, unknown>;
  return typeof name === "string" && typeof text === "string" && Array.isArray(functions);
}
