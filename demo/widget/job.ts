import type { DataSource, Job, ModelSource } from "../../src/client/types.ts";
import { NotFoundError, RecipeError } from "../../src/errors.ts";

/** Bytes by name, as in traits. */
export type Files = Readonly<Record<string, ArrayBufferView<ArrayBuffer>>>;

/**
 * The client's job for a trait. In the trait, a source `{ kind: "files", name }` is a model whose files are under `name/` in
 * `files`; `{ kind: "file", name }` is the data set `files[name]`.
 *
 * @throws {RecipeError} the trait is not a job
 * @throws {NotFoundError} a file is missing in `files`
 */
export function jobOf(given: unknown, files: Files, assets: string): Job {
  const job = (given ?? {}) as Partial<Job>;
  const isSource = (source: unknown) => typeof (source as Job["model"] | null)?.kind === "string";
  if (!isSource(job.model) || !Array.isArray(job.phases) || !job.phases.every((phase) => isSource(phase?.data))) {
    throw new RecipeError(
      'Cannot train: the trait job needs a model and phases, such as {"model": {"kind": "embedded"}, "phases": [{"method": "sft", "data": {"kind": "embedded", "rows": "sft"}, "recipe": {}}]}',
    );
  }
  if (job.model!.kind === "embedded" && !assets) {
    throw new NotFoundError(
      "Cannot find the embedded model: set the trait assets to the address of the folder that holds tiny/, or give its files",
    );
  }
  return {
    name: job.name ?? "Widget",
    model: modelOf(job.model!, files),
    phases: job.phases.map((phase) => ({ ...phase, recipe: phase.recipe ?? {}, data: dataOf(phase.data, files) })),
    evaluate: job.evaluate ? { ...job.evaluate, data: dataOf(job.evaluate.data, files) } : null,
  };
}

function modelOf(source: ModelSource, files: Files): ModelSource {
  if (source.kind !== "files") return source;
  const below = `${source.name}/`;
  const names = Object.keys(files).filter((name) => name.startsWith(below));
  if (names.length === 0) throw notGiven(below, files);
  return { ...source, files: names.map((name) => new File([files[name]], name.slice(below.length))) };
}

function dataOf(source: DataSource, files: Files): DataSource {
  if (source.kind !== "file") return source;
  const { name } = source as unknown as { name: string };
  const bytes = files[name];
  if (!bytes) throw notGiven(name, files);
  return { ...source, file: new File([bytes], name) };
}

function notGiven(name: string, files: Files): NotFoundError {
  return new NotFoundError(`Cannot open ${name}: the trait files holds ${Object.keys(files).join(", ") || "nothing"}`);
}
