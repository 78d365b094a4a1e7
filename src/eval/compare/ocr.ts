import { FormatError, QwenchError } from "../../errors.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { isObject } from "../../text/json.ts";
import { kindOf } from "../../text/show.ts";
import { type OcrOptions, ocrScores } from "../ocr.ts";
import { type Place, type Placed, placesOf, sequencesOf } from "./names.ts";
import { bootstrapMeans, type Interval } from "./stats.ts";

/** A text that a model read in a sample, and the truth. */
interface ReadText {
  sample: number;
  cer: number;
  wer: number;
  ground_truth: string;
  generated_text: string;
}

/** The part of an OCR evaluation's results.json that a comparison needs. */
interface OcrEvaluation extends Placed {
  options: Required<OcrOptions>;
  records: ReadText[];
}

/** A model's scores on the samples that all compared models have read. */
export interface OcrModelRow extends Place, ReturnType<typeof ocrScores> {
  file: string;
  /** percentage points of its mean CER and WER below the base's, with 95 % intervals; null for the base */
  improvement: { cer: Interval; wer: Interval } | null;
}

/** A sample that a model reads worse or better than the base. */
export interface OcrChange {
  model: string;
  sample: number;
  truth: string;
  before: { cer: number; text: string };
  now: { cer: number; text: string };
}

/** OCR evaluations of one data set, side by side. */
export interface OcrComparison {
  kind: "ocr";
  seed: number;
  resamples: number;
  notes: string[];
  dataset: string;
  samples: number;
  base: string;
  models: OcrModelRow[];
  /** the models with the lowest mean CER */
  best: { cer: number; models: string[] };
  /** by how much the CER grew or fell, the largest changes first */
  worse: OcrChange[];
  better: OcrChange[];
}

/** Whether a text is an OCR evaluation of qwench, and no other. */
export function isOcrEvaluation(text: string): boolean {
  try {
    const whole = parseBoundedJson(text, { values: 100_000_000 });
    return isObject(whole) && isObject(whole.results) && "avg_cer" in whole.results;
  } catch {
    return false; // the reader of other evaluations says what is wrong
  }
}

/**
 * Reads the results.json of `qwench eval ocr`.
 *
 * @param file its name in errors
 * @throws {FormatError} the message says what is missing
 */
export function readOcrEvaluation(text: string, file: string): OcrEvaluation {
  const wrong = (what: string) => new FormatError(`Cannot compare ${file}: ${what}`);
  const { results, records } = parseBoundedJson(text, { values: 100_000_000 }) as Record<string, unknown>;
  if (!isObject(results)) throw wrong(`results must be an object, not ${kindOf(results)}`);
  if (!Array.isArray(records) || records.length === 0) throw wrong("records must be a list with at least one sample");
  for (const name of ["model_type", "dataset"]) {
    if (typeof results[name] !== "string") throw wrong(`results.${name} must be a name, not ${kindOf(results[name])}`);
  }
  const read = records.map((record: unknown, i): ReadText => {
    if (!isObject(record)) throw wrong(`record ${i + 1} must be an object, not ${kindOf(record)}`);
    for (const name of ["sample", "cer", "wer"]) {
      if (!Number.isFinite(record[name])) throw wrong(`record ${i + 1}: ${name} must be a number`);
    }
    for (const name of ["ground_truth", "generated_text"]) {
      if (typeof record[name] !== "string") throw wrong(`record ${i + 1}: ${name} must be text`);
    }
    return record as unknown as ReadText;
  });
  const name = (value: unknown) => (typeof value === "string" ? value : null);
  return {
    file,
    model_type: results.model_type as string,
    dataset: results.dataset as string,
    model: name(results.model_name_or_path),
    adapter: name(results.adapter_name_or_path),
    options: { ignore_case: results.ignore_case === true, ignore_punctuation: results.ignore_punctuation === true },
    records: read,
  };
}

interface CompareOcrOptions {
  /** name or file of the model that the others are compared with; default: the first evaluation's */
  base?: string;
  /** for the bootstrap */
  seed?: number;
  resamples?: number;
}

/**
 * Compares OCR evaluations on the samples that all have, with the same number and truth.
 *
 * @param evaluations at least two
 * @throws {QwenchError} no model is called `base`; the evaluations share no sample, or count errors differently
 */
export function compareOcr(
  evaluations: readonly OcrEvaluation[],
  { base, seed = 0, resamples = 10_000 }: CompareOcrOptions = {},
): OcrComparison {
  const all = placesOf(evaluations);
  const first = base === undefined ? 0 : all.findIndex(({ name }, i) => [name, evaluations[i].file].includes(base));
  if (first < 0) {
    throw new QwenchError(`There is no model ${base} for --base: there are ${all.map(({ name }) => name).join(", ")}`);
  }
  const [{ options }] = evaluations;
  const other = evaluations.find((each) => JSON.stringify(each.options) !== JSON.stringify(options));
  if (other) {
    throw new QwenchError(
      `Cannot compare ${evaluations[0].file} and ${other.file}: ignore_case and ignore_punctuation differ; evaluate both with the same`,
    );
  }
  const order = [first, ...sequencesOf(all).flat().filter((i) => i !== first)]; // biome-ignore format: a line
  const [own, places] = [order.map((i) => evaluations[i]), order.map((i) => all[i])];
  const notes: string[] = [];
  const shared = sharedSamples(own, notes);
  const rates = (m: number, of: "cer" | "wer") => Float64Array.from(shared, (texts) => 100 * texts[m][of]);
  const gained = (of: "cer" | "wer") =>
    own.slice(1).map((_, i) => rates(0, of).map((value, s) => value - rates(i + 1, of)[s]));
  const intervals = bootstrapMeans([...gained("cer"), ...gained("wer")], seed, resamples);
  const models = places.map((place, m): OcrModelRow => {
    const texts = shared.map((each) => each[m]);
    const improvement = m === 0 ? null : { cer: intervals[m - 1], wer: intervals[own.length - 2 + m] };
    return { ...place, file: own[m].file, ...ocrScores(texts, options), improvement };
  });
  const lowest = Math.min(...models.map(({ avg_cer }) => avg_cer));
  const changes = places.slice(1).flatMap(({ name: model }, i) =>
    shared.map((texts): OcrChange => {
      const [before, now] = [texts[0], texts[i + 1]].map(({ cer, generated_text: text }) => ({ cer, text }));
      return { model, sample: texts[0].sample, truth: texts[0].ground_truth, before, now };
    }),
  );
  const growth = ({ before, now }: OcrChange) => now.cer - before.cer;
  return {
    kind: "ocr",
    seed,
    resamples,
    notes,
    dataset: own[0].dataset,
    samples: shared.length,
    base: places[0].name,
    models,
    best: { cer: lowest, models: models.filter(({ avg_cer }) => avg_cer === lowest).map(({ name }) => name) },
    worse: changes.filter((each) => growth(each) > 0).sort((a, b) => growth(b) - growth(a)),
    better: changes.filter((each) => growth(each) < 0).sort((a, b) => growth(a) - growth(b)),
  };
}

/** The texts of each sample that every evaluation has, in the base's order. Adds notes on those that it leaves out. */
function sharedSamples(evaluations: readonly OcrEvaluation[], notes: string[]): ReadText[][] {
  const keyOf = ({ sample, ground_truth }: ReadText) => JSON.stringify([sample, ground_truth]);
  const maps = evaluations.map(({ records }) => new Map(records.map((record) => [keyOf(record), record])));
  const shared = [...maps[0].keys()]
    .filter((key) => maps.every((map) => map.has(key)))
    .map((key) => maps.map((map) => map.get(key)!));
  if (shared.length === 0) {
    throw new QwenchError(
      `Cannot compare ${evaluations.map(({ file }) => file).join(" and ")}: they share no sample with the same truth`,
    );
  }
  evaluations.forEach(({ file }, i) => {
    const left = maps[i].size - shared.length;
    if (left > 0)
      notes.push(`${file}: ${left} of its ${maps[i].size} samples are left out, since not all models have read them`);
  });
  const names = [...new Set(evaluations.map(({ dataset }) => dataset))];
  if (names.length > 1) notes.push(`${names.join(", ")}: the names differ, but the samples are the same`);
  return shared;
}
