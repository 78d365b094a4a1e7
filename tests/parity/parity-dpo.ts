import type { TokenizedPair } from "../../src/data/preferences.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import { type DpoLossOptions, dpoObjective, referenceLogps } from "../../src/train/dpo/objective.ts";
import { type ParityRow, readTensors, worstGradient } from "./parity-model.ts";

interface Setting extends Omit<DpoLossOptions, "label_smoothing"> {
  label_smoothing?: number;
  loss: number;
  metrics: Record<string, number>;
  grads: string;
}

interface GoldenPair {
  prompt_ids: number[];
  chosen_ids: number[];
  rejected_ids: number[];
}

/** TRL's DPO losses, metrics and LoRA gradients over one batch of pairs (a folder with losses.json and pairs.json). */
export async function dpoParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const settings: Setting[] = JSON.parse(await folder.readText("losses.json"));
  const golden: GoldenPair[] = JSON.parse(await folder.readText("pairs.json"));
  const pairs = golden.map(({ prompt_ids, chosen_ids, rejected_ids }): TokenizedPair => {
    const [chosen, rejected] = [chosen_ids, rejected_ids].map((ids) => {
      return { input_ids: [...prompt_ids, ...ids], prompt: prompt_ids.length };
    });
    return { chosen, rejected };
  });
  const { checkpoint } = await openModel(folder);
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), folder.folder("adapter"));
  const model = await loadModel(gpu, checkpoint, { trained: { lora } });
  await fillAdapter(gpu, model, adapter);
  const reference = model.withoutAdapter();
  const store = model.store!;
  const rows: ParityRow[] = [];
  const add = (check: string, worst: number, tolerance: number) => rows.push({ case: name, check, worst, tolerance });
  for (const [i, { loss: wanted, metrics: told, grads: file, ...setting }] of settings.entries()) {
    const title = `${i}: ${setting.loss_type}, β ${setting.beta}`;
    const options: DpoLossOptions = { label_smoothing: 0, ...setting };
    const record = gpu.recorder();
    record.clear(store.grads);
    const pending = dpoObjective(record, model, reference, pairs, options, { micros: 1, dropoutSeed: null });
    const flat = record.read(store.grads);
    record.submit();
    const { loss, metrics } = await pending;
    add(`${title}, loss`, Math.abs(loss - wanted) / Math.abs(wanted), 1e-5);
    const grads = new Map(store.split(await flat).map((own) => [own.name, own.data]));
    add(`${title}, LoRA gradients`, worstGradient(grads, await readTensors(folder, file)), 1e-4);
    const { num_tokens, ...wantedMetrics } = told;
    const names = [...new Set([...Object.keys(metrics), ...Object.keys(wantedMetrics)])]; // NaN where one side lacks one
    const errors = names.map((metric) => relativeError([metrics[metric]], [wantedMetrics[metric]]));
    add(`${title}, metrics`, errors.includes(Number.NaN) ? Number.NaN : Math.max(...errors), 1e-3);
    const tokens = pairs.reduce(
      (sum, { chosen, rejected }) => sum + chosen.input_ids.length + rejected.input_ids.length,
      0,
    );
    add(`${title}, tokens`, Math.abs(tokens - num_tokens), 0);
  }
  // with the reference's log-probs taken beforehand nothing changes
  const [{ loss: _, metrics: __, grads: ___, ...first }] = settings;
  const record = gpu.recorder();
  const taken = referenceLogps(record, reference, pairs);
  record.submit();
  const logps = await taken;
  const known = pairs.map((pair, p) => ({ ...pair, ...logps[p] }));
  const again = gpu.recorder();
  const pending = dpoObjective(again, model, null, known, { label_smoothing: 0, ...first }, null);
  again.submit();
  add("precomputed reference, loss", Math.abs((await pending).loss / settings[0].loss - 1), 1e-5);
  return rows;
}
