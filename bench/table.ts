import type { Gpu } from "../src/gpu/device.ts";
import type { Platform } from "../src/platform/adapter.ts";
import { attentionSubjects } from "./attention.ts";
import { decodingSubjects, GREEDY, passOf, tokenRate } from "./generate.ts";
import * as limits from "./limits.ts";
import { judged } from "./limits.ts";
import { matmulSubjects } from "./matmul.ts";
import { interleave, ratioOf, type Subject, type Time } from "./measure.ts";
import { randomModel, stepOf, trainee } from "./models.ts";
import { fasterPeer, nameOf, openPeers, PRODUCTS, productRow, productSubjects, type Report } from "./peers.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { lengthExponent } from "./scale.ts";
import { benchSft } from "./sft.ts";
import { benchModel } from "./sizes.ts";

/**
 * Every figure that has a limit, with the limit and whether the figure meets it. Each ratio has its own rounds, all on one
 * adapter in one run.
 *
 * @param emit receives the rows of each part when the part ends
 * @param report receives figures that could not be measured
 */
export async function benchTable(
  gpu: Gpu,
  platform: Platform,
  rounds: number,
  emit: (rows: BenchRow[]) => void,
  report: Report,
): Promise<void> {
  for (const part of [
    () => besidePeers(gpu, platform, rounds, report),
    () => attentionAt2048(gpu, rounds),
    () => decoding(gpu, rounds),
    () => wholeStep(gpu, rounds),
    async () => [await lengthExponent(gpu, rounds, report)],
  ]) {
    emit(await part());
    await gpu.clear();
  }
}

/** Timed subjects, by name. */
class Comparison {
  private readonly subjects: readonly Subject[];
  private readonly times: readonly (readonly Time[])[];
  readonly rows: BenchRow[];

  constructor(gpu: Gpu, subjects: readonly Subject[], times: readonly (readonly Time[])[]) {
    this.subjects = subjects;
    this.times = times;
    this.rows = rowsOf(gpu, subjects, times);
  }

  at(what: string): number {
    return this.subjects.findIndex((subject) => subject.what === what);
  }

  /** The ratio of two subjects' times. */
  time(over: string, under: string): limits.Ratio {
    const [a, b] = [this.times[this.at(over)], this.times[this.at(under)]];
    return { ms: ratioOf(a, b), cpu: ratioOf(a, b, "cpu") };
  }

  /** The ratio of two subjects' tokens/s. */
  rate(over: string, under: string): limits.Ratio {
    const of = (unit: keyof Time) => tokenRate(this.subjects, this.times, this.at(over), this.at(under), unit);
    return { ms: of("ms"), cpu: of("cpu") };
  }
}

async function besidePeers(gpu: Gpu, platform: Platform, rounds: number, report: Report): Promise<BenchRow[]> {
  const peers = await openPeers(gpu, platform, report);
  const small = trainee(gpu, benchModel(2, 4096), 8);
  const subjects: Subject[] = [
    ...(await productSubjects(gpu, peers, PRODUCTS, report)),
    ...matmulSubjects(gpu, 512, ["bf16", "f32"]),
    { ...stepOf(small, 1, 128), what: "step 128" },
    { ...stepOf(small, 1, 512), what: "step 512" },
    {
      ...passOf(small.model, "token", { batch: 1, sampling: GREEDY, prompt: 64, block: 16 }),
      shape: "2 layers, context 64",
    },
  ];
  const times = await interleave(gpu, subjects, rounds, 300);
  const compared = new Comparison(gpu, subjects, times);
  const row = (what: string) => compared.rows[compared.at(what)];
  const [nt, nn512, nn128, nn1] = PRODUCTS;
  const rows: BenchRow[] = [];
  if (fasterPeer(subjects, times, nt)) rows.push(productRow(gpu, subjects, times, nt));
  else report("x·Wᵀ against the faster peer is not measured: no peer computed it");
  for (const [back, forward] of [
    ["dy·W up_proj f32", "x·Wᵀ up_proj f32"],
    ["dyᵀ·x up_proj f32", "x·Wᵀ up_proj f32"],
    ["dy·W up_proj bf16", "x·Wᵀ up_proj bf16"],
  ])
    rows.push(judged(row(back), {}, compared.time(forward, back), limits.BACKWARD_PRODUCTS, `GFLOP/s of ${forward}`));
  for (const [ours, what, product, limit] of [
    ["step 128", "LoRA SFT step, 2 blocks, vocab 4096, r 8", nn128, limits.STEP_128],
    ["step 512", "LoRA SFT step, 2 blocks, vocab 4096, r 8", nn512, limits.STEP_512],
    ["token", "greedy token, 2 blocks, vocab 4096", nn1, limits.TOKEN],
  ] as const) {
    const theirs = nameOf("jax-js", product);
    if (compared.at(theirs) < 0) report(`${what} against ${theirs} is not measured: jax-js has no time for it`);
    else rows.push(judged(row(ours), { what }, compared.time(ours, theirs), limit, `time of ${theirs}`));
  }
  return rows;
}

async function attentionAt2048(gpu: Gpu, rounds: number): Promise<BenchRow[]> {
  const subjects = attentionSubjects(gpu, [2048]);
  const compared = new Comparison(gpu, subjects, await interleave(gpu, subjects, rounds, 300));
  const [forward, back] = subjects.map(({ what }) => what);
  return [judged(compared.rows[1], {}, compared.time(back, forward), limits.ATTENTION_BACKWARD, `time of ${forward}`)];
}

async function decoding(gpu: Gpu, rounds: number): Promise<BenchRow[]> {
  const subjects = decodingSubjects(randomModel(gpu, benchModel()));
  const compared = new Comparison(gpu, subjects, await interleave(gpu, subjects, rounds));
  const row = (over: string, under: string, limit: limits.Limit) =>
    judged(compared.rows[compared.at(over)], {}, compared.rate(over, under), limit, `tokens/s of ${under}`);
  return [
    row("sampled 1", "greedy 1", limits.SAMPLING),
    row("sampled 16", "greedy 16", limits.SAMPLING),
    row("greedy 16", "greedy 1", limits.BATCH_16),
  ];
}

async function wholeStep(gpu: Gpu, rounds: number): Promise<BenchRow[]> {
  const steps = (await benchSft(gpu, { tokens: 256, rounds })).slice(0, 2);
  return steps.map((step) => {
    const ratio = { ms: step.ratio!, cpu: step.cpu_ratio! };
    return judged(step, { what: `${step.what}, MFU` }, ratio, limits.STEP_SHARE, step.against!);
  });
}
