/** The trackers that `report_to` writes files for. */
export const TRACKERS = ["tensorboard", "wandb", "trackio"] as const;
export type Tracker = (typeof TRACKERS)[number];

/** Other names from transformers, for which Qwench writes nothing. */
const OTHERS = [
  ...["azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive"],
  ...["flyte", "mlflow", "neptune", "swanlab"],
];

/**
 * Reads the value of `report_to`: null, `none` or `all`, or names.
 *
 * @returns the trackers to write for, names from transformers without files, and unknown names
 */
export function readTrackers(value: string | readonly string[] | null): {
  trackers: Tracker[];
  unwritten: string[];
  unknown: string[];
} {
  const names = value === null ? [] : typeof value === "string" ? value.split(/[\s,]+/) : [...value];
  const asked = names.includes("all") ? [...TRACKERS] : names.filter((name) => name !== "none" && name !== "");
  const trackers = TRACKERS.filter((name) => asked.includes(name));
  const rest = asked.filter((name) => !(TRACKERS as readonly string[]).includes(name));
  return {
    trackers,
    unwritten: rest.filter((name) => OTHERS.includes(name)),
    unknown: rest.filter((name) => !OTHERS.includes(name)),
  };
}
