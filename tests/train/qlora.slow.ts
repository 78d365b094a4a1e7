import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { useGpu } from "../kernels/harness.ts";
import { recipeOf, train } from "./fixtures.ts";

const gpu = useGpu();
const model = nodeFolder(fileURLToPath(new URL("../../assets/tiny", import.meta.url)));

test("LoRA on a quantised base learns like on the bf16 base: loss curves within 5 %, and less memory", async () => {
  const run = async (values: Record<string, unknown>) => {
    const recipe = recipeOf({
      per_device_train_batch_size: 16,
      max_steps: 24,
      learning_rate: 2e-3,
      lora_r: 16,
      lora_dropout: 0,
      ...values,
    });
    const rows = embeddedRows("train", 1024).map((row, i) => ({ row: { ...row }, number: i + 1, file: "rows" }));
    const { logs, prepared } = await train(gpu(), { recipe, model, rows });
    await gpu().clear();
    return { losses: logs.map(({ loss }) => loss as number), weights: prepared.forecast.byKind.weights! };
  };
  const base = await run({});
  expect(base.losses.at(-1)).toBeLessThan(base.losses[0] / 2);
  for (const [values, most] of [
    [{ load_in_4bit: true }, 0.05],
    [{ load_in_4bit: true, use_bnb_nested_quant: true }, 0.05],
    [{ load_in_8bit: true }, 0.01],
  ] as const) {
    const quantized = await run(values);
    expect(quantized.weights).toBeLessThan(0.7 * base.weights);
    const off = quantized.losses.map((loss, i) => Math.abs(loss - base.losses[i]) / base.losses[i]);
    const mean = off.reduce((sum, one) => sum + one) / off.length;
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    console.log(
      `${Object.keys(values)}: off by ${percent(mean)} in the mean, ${percent(Math.max(...off))} at most, ${percent(off.at(-1)!)} at the end`,
    );
    expect(mean).toBeLessThan(most);
  }
});
