import type { Evaluation } from "./file.ts";

/** Which model an evaluation is of, and where it stands in a training run. */
export interface Place {
  /** what tables call it */
  name: string;
  /** the folder that holds its checkpoints; empty where only its name tells that it is one; null for what is none */
  run: string | null;
  /** the optimizer step it was saved after; null for what is no checkpoint, and for what a run ended with */
  step: number | null;
}

const CHECKPOINT = /^(?:(.*)\/)?checkpoint-(\d+)$/;

/**
 * Names models and finds the checkpoints among them. A model goes by its `model_type`; where several have the same one,
 * by the end of its path; checkpoints of several runs by run and step; where that is the same too, by its file as well.
 */
export function placesOf(evaluations: readonly Evaluation[]): Place[] {
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
 * Puts models in the order of training: each run's together, where its first one stands, by step; what a run ended
 * with comes last; what is no checkpoint, as it was given.
 *
 * @returns of each run, or of all that are no checkpoints, the indices into `places`
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

/** Files without folder and ending where that tells them apart, else as they are. */
function shortFiles(files: readonly string[]): string[] {
  const stems = files.map((file) => file.replace(/^.*[\\/]/, "").replace(/\.json$/i, ""));
  return stems.map((stem, i) => (stems.indexOf(stem) === stems.lastIndexOf(stem) ? stem : files[i]));
}
