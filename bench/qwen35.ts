import type { Gpu } from "../src/gpu/device.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { DELTA_EXPONENT, DELTA_STEP, judged } from "./limits.ts";
import { fitPower, interleave, type RecordedSubject, ratioOf, type Subject, type Time } from "./measure.ts";
import { stepOf, trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { qwen35Layers } from "./sizes.ts";

const [LAYERS, RANK] = [2, 16];
/** Lengths of a sequence, over which a step of delta nets must grow in proportion. */
const LENGTHS: readonly number[] = [512, 1024, 2048, 4096, 8192];

type LayerType = "linear_attention" | "full_attention";

/** LoRA steps of two layers of one type, over one sequence. */
function stepsOf(gpu: Gpu, type: LayerType, narrow: boolean = false): (length: number) => RecordedSubject {
  const config: ModelConfig = qwen35Layers(type, LAYERS, narrow);
  const name = type === "linear_attention" ? "delta nets" : "full attention";
  const trained = trainee(gpu, config, RANK);
  return (length) => {
    // operations of delta nets are not those that stepOf counts
    const step = { ...stepOf(trained, 1, length), flops: null };
    return {
      ...step,
      what: `LoRA step of Qwen3.5-0.8B's ${name}`,
      shape: `${LAYERS} layers, ${length} tokens, vocab 4096${narrow ? ", a quarter of its width" : ""}`,
    };
  };
}

/**
 * Time of a LoRA step of two gated delta nets beside that of two layers of full attention of the same width.
 *
 * @param tokens of the sequence
 */
export async function benchDeltaStep(gpu: Gpu, tokens: number, rounds: number): Promise<BenchRow[]> {
  const subjects = (["linear_attention", "full_attention"] as const).map((type) => stepsOf(gpu, type)(tokens));
  const times = await interleave(gpu, subjects, rounds, 50);
  const [delta, full] = rowsOf(gpu, subjects, times);
  const ratio = { ms: ratioOf(times[0], times[1]), cpu: ratioOf(times[0], times[1], "cpu") };
  return [judged(delta, {}, ratio, DELTA_STEP, `time of ${full.what}`), full];
}

/** Exponent a of time ∝ lengthᵃ of a LoRA step of two narrow gated delta nets, every length in every round. */
export async function benchDeltaLength(gpu: Gpu, rounds: number, lengths = LENGTHS): Promise<BenchRow[]> {
  const make = stepsOf(gpu, "linear_attention", true);
  const subjects: Subject[] = lengths.map(make);
  const times = await interleave(gpu, subjects, rounds, 50);
  const rows = rowsOf(gpu, subjects, times).map((row, i) => ({ ...row, x: lengths[i] }));
  const { x: _, tokens_per_s: __, ...last } = rows[rows.length - 1];
  const about = { what: `${last.what}: exponent`, shape: `length ${lengths[0]} to ${lengths[lengths.length - 1]}` };
  const ratio = { ms: exponentOf(lengths, times, "ms"), cpu: exponentOf(lengths, times, "cpu") };
  return [...rows, judged(last, about, ratio, DELTA_EXPONENT, "a of time ∝ lengthᵃ")];
}

/** Of the least time of each length: what else the machine does only adds. */
function exponentOf(lengths: readonly number[], times: readonly (readonly Time[])[], unit: keyof Time): number {
  const least = (rounds: readonly Time[]) => Math.min(...rounds.map((time) => time[unit]));
  return fitPower(lengths.map((x, i) => [x, least(times[i])] as const)).exponent;
}
