/** What names a model: parts of any evaluation. */
export interface Placed {
  /** the caller's name for the file */
  file: string;
  model_type: string;
  dataset: string;
  model: string | null;
  adapter: string | null;
}

/** The model of an evaluation, and its position in a training run. */
export interface Place {
  /** its name in tables */
  name: string;
  /**
   * the folder of the run's checkpoints; empty if only the model's name shows that it is a checkpoint; null for other models
   */
  run: string | null;
  /** the checkpoint's optimizer step; null for other models and for a run's final result */
  step: number | null;
}

const CHECKPOINT = /^(?:(.*)\/)?checkpoint-(\d+)$/;

/**
 * Names models and finds the checkpoints among them. A model's name is its `model_type`. If several share one, the name is the
 * end of the model's path, or run and step for checkpoints of several runs. If these are equal too, the name includes the file.
 */
export function placesOf(evaluations: readonly Placed[]): Place[] {
  const paths = evaluations.map(({ adapter, model }) => tidy(adapter ?? model ?? ""));
  const keys = evaluations.map(({ model_type, model }, i) => JSON.stringify([model_type, model, paths[i]]));
  const types = evaluations.map(({ model_type }) => model_type);
  const checkpoints = paths.map((path, i) => CHECKPOINT.exec(path) ?? CHECKPOINT.exec(types[i]));
  const runs = new Set(checkpoints.flatMap((found) => found?.[1] ?? []));
  const ends = paths.map((path, i) => {
    const [, run, step] = checkpoints[i] ?? [];
    return run ? `${run.split("/").at(-1)}/${step}` : path.split("/").slice(-2).join("/");
  });
  const distinct = (names: readonly string[], i: number) =>
    names[i] !== "" && names.every((name, j) => name !== names[i] || keys[j] === keys[i]);
  const names = types.map((type, i) => {
    const ofSeveralRuns = runs.size > 1 && CHECKPOINT.test(type);
    return distinct(types, i) && !ofSeveralRuns ? type : distinct(ends, i) ? ends[i] : null;
  });
  const files = shortFiles(evaluations.map(({ file }) => file));
  const full = names.map((name, i) => {
    const twin = evaluations.some(
      ({ dataset }, j) => j !== i && dataset === evaluations[i].dataset && keys[j] === keys[i],
    );
    return name === null || twin ? `${name ?? types[i]} (${files[i]})` : name;
  });

  return full.map((name, i) => {
    const found = checkpoints[i];
    if (found) return { name, run: found[1] ?? "", step: Number(found[2]) };
    return { name, run: runs.has(paths[i]) ? paths[i] : null, step: null };
  });
}

/**
 * Sorts models in the order of training. A run's checkpoints stand together at the place of the first, by step, with the run's
 * final result last. Other models keep their order.
 *
 * @returns indices into `places`, one list for each run and one for all models that are not checkpoints
 */
export function sequencesOf(places: readonly Place[]): number[][] {
  const runs = [...new Set(places.map(({ run }) => run))];
  return runs.map((run) => {
    const own = places.flatMap((place, i) => (place.run === run ? [i] : []));
    if (run === null) return own;
    const step = (i: number) => places[i].step ?? Number.POSITIVE_INFINITY;
    return own.sort((a, b) => (step(a) === step(b) ? a - b : step(a) - step(b)));
  });
}

function tidy(path: string): string {
  return path
    .replaceAll("\\", "/")
    .replace(/\/+$/, "")
    .replace(/^(\.\/)+/, "");
}

/** File names without folder and ending if these are unique, else the full names. */
function shortFiles(files: readonly string[]): string[] {
  const stems = files.map((file) => file.replace(/^.*[\\/]/, "").replace(/\.json$/i, ""));
  return stems.map((stem, i) => (stems.indexOf(stem) === stems.lastIndexOf(stem) ? stem : files[i]));
}
