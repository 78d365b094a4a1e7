import type { Folder } from "../io/storage.ts";
import { type Method, methods, type SftRecipe } from "../recipe/recipe.ts";
import { parseRecipeYaml } from "../recipe/yaml.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { isObject } from "../text/json.ts";

/** Describes a run in its folder, for whoever shows it. */
export const runFile = "run.json";

const STATES = ["running", "finished", "interrupted", "failed"] as const;

/** What a run is, and how it is getting on. */
export interface RunFacts {
  version: 1;
  method: Method;
  /** name or path of the base model, and of the rows */
  model: string;
  data: string;
  /** the complete recipe as YAML */
  recipe: string;
  max_steps: number;
  /** the adapter's name */
  device: string;
  /** when the run began, ISO 8601; a resumed run keeps it */
  began: string;
  /** when its last process ended; null: it has not */
  ended: string | null;
  /** `running` also after a process was killed */
  status: (typeof STATES)[number];
  /** message of the error that ended it */
  problem: string | null;
}

/** Writes a run's facts. A resumed run keeps when it began. */
export async function beginRunFile(folder: Folder, facts: RunFacts, resumes: boolean): Promise<void> {
  const earlier = resumes ? await readRunFile(folder) : null;
  await writeRunFile(folder, { ...facts, began: earlier?.began ?? facts.began });
}

/** Records how a process of the run ended. @param failure the error that ended it; null: it finished */
export async function endRunFile(folder: Folder, failure: unknown): Promise<void> {
  const facts = await readRunFile(folder);
  if (!facts) return;
  const interrupted = (failure as Partial<Error> | null)?.name === "AbortError";
  const status = failure === null ? "finished" : interrupted ? "interrupted" : "failed";
  const problem = status === "failed" ? String((failure as Partial<Error>).message ?? failure) : null;
  await writeRunFile(folder, { ...facts, ended: new Date().toISOString(), status, problem });
}

async function writeRunFile(folder: Folder, facts: RunFacts): Promise<void> {
  await folder.write(runFile, `${JSON.stringify(facts, null, 2)}\n`);
}

/** A run's facts; null without the file, as in runs of older versions, and if it holds anything else. */
export async function readRunFile(folder: Folder): Promise<RunFacts | null> {
  if (!(await folder.exists(runFile))) return null;
  try {
    return factsOf(parseBoundedJson(await folder.readText(runFile)));
  } catch {
    return null; // a folder from elsewhere
  }
}

/** Whether the run that wrote a folder stored keys and values as bf16; null: the folder does not tell. */
export async function bf16OfRun(folder: Folder): Promise<boolean | null> {
  const facts = await readRunFile(folder);
  if (!facts) return null;
  try {
    const { recipe } = parseRecipeYaml(facts.recipe, runFile, facts.method);
    return (recipe as SftRecipe).bf16;
  } catch {
    return null; // of another version
  }
}

function factsOf(json: unknown): RunFacts | null {
  if (!isObject(json) || json.version !== 1) return null;
  const method = methods.find((name) => name === json.method);
  const status = STATES.find((name) => name === json.status);
  const texts = ["model", "data", "recipe", "device", "began"].every((name) => typeof json[name] === "string");
  const steps = Number.isSafeInteger(json.max_steps) && (json.max_steps as number) > 0;
  if (!method || !status || !texts || !steps || Number.isNaN(Date.parse(json.began as string))) return null;
  const { ended, problem } = json;
  return {
    ...(json as unknown as RunFacts),
    ended: typeof ended === "string" && !Number.isNaN(Date.parse(ended)) ? ended : null,
    problem: typeof problem === "string" ? problem : null,
  };
}
