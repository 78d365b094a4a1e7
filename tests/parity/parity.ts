import { openGpu } from "../../src/cli/runs/open-gpu.ts";
import { NotFoundError, QwenchError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { learningRate } from "../../src/train/schedule.ts";
import { GOLDEN } from "../shared.ts";
import { inMode, type ParityMode, switchTo } from "./modes.ts";
import { dpoParity } from "./parity-dpo.ts";
import { advantagesParity, grpoParity } from "./parity-grpo.ts";
import { mergeParity } from "./parity-merge.ts";
import { modelParity, type ParityRow } from "./parity-model.ts";
import { samplingParity } from "./parity-sampling.ts";
import { sftLossesParity, sftParity } from "./parity-sft.ts";

/** Learning rates of every schedule in schedules.json. */
async function scheduleParity(folder: Folder): Promise<ParityRow[]> {
  const cases = JSON.parse(await folder.readText("schedules.json"));
  return cases.map(
    ({ lr_scheduler_type, kwargs, learning_rate, warmup_steps, max_steps, lr }: ScheduleCase): ParityRow => {
      const got = lr.map((_, step) =>
        learningRate({ lr_scheduler_type, learning_rate, warmup_steps, max_steps, kwargs }, step),
      );
      return {
        case: "schedules",
        check: `${lr_scheduler_type} ${JSON.stringify(kwargs)} ${warmup_steps}/${max_steps}`,
        worst: relativeError(got, lr),
        tolerance: 1e-12,
      };
    },
  );
}

interface ScheduleCase {
  lr_scheduler_type: "linear";
  kwargs: Record<string, number>;
  learning_rate: number;
  warmup_steps: number;
  max_steps: number;
  lr: number[];
}

/** A case's folder; its checkpoint may be another case's, which `model_of.json` names. */
async function withModel(folder: Folder, name: string): Promise<Folder> {
  const own = folder.folder(name);
  if (!(await own.exists("model_of.json"))) return own;
  const other = folder.folder(JSON.parse(await own.readText("model_of.json")));
  const of = (file: string) => (["config.json", "model.safetensors"].includes(file) ? other : own);
  const shared = {
    exists: (file: string) => of(file).exists(file),
    open: (file: string) => of(file).open(file),
    readText: (file: string) => of(file).readText(file),
    folder: (sub: string) => own.folder(sub),
  };
  return new Proxy(own, { get: (target, key) => Reflect.get(key in shared ? shared : target, key) });
}

/** Runs every check of a golden folder; calls `onRow` for each. @param mode what is rounded, and by which tolerances rows are judged */
export async function runParity(
  gpu: Gpu,
  folder: Folder,
  onRow: (row: ParityRow) => void,
  mode: ParityMode = "f32",
): Promise<{ left: string[] }> {
  switchTo(gpu, mode);
  try {
    return await checkAll(gpu, folder, (row) => onRow(inMode(row, mode)));
  } finally {
    switchTo(gpu, "f32");
  }
}

async function checkAll(gpu: Gpu, folder: Folder, onRow: (row: ParityRow) => void): Promise<{ left: string[] }> {
  const left: string[] = [];
  let found = 0;
  const see = (rows: readonly ParityRow[]) => {
    found += rows.length;
    rows.forEach(onRow);
  };
  for (const file of await folder.list()) {
    if (file === "schedules.json") see(await scheduleParity(folder));
    else if (file === "advantages.json") see(await advantagesParity(folder));
    else if (file.endsWith(".json")) left.push(file);
  }
  for (const name of await folder.folders()) {
    const sub = await withModel(folder, name);
    if (await sub.exists("case.json")) {
      for (const dtype of gpu.features.f16 ? (["auto", "float16"] as const) : (["auto"] as const)) {
        see(await modelParity(gpu, sub, name, dtype));
      }
      see(await mergeParity(gpu, sub, name));
    } else if (await sub.exists("trajectory.json")) {
      see(await sftParity(gpu, sub, name));
    } else if (await sub.exists("pairs.json")) {
      see(await dpoParity(gpu, sub, name));
    } else if ((await sub.exists("losses.json")) && (await sub.exists("logps.safetensors"))) {
      see(await grpoParity(gpu, sub, name));
    } else if ((await sub.exists("losses.json")) && (await sub.exists("batch.safetensors"))) {
      see(await sftLossesParity(gpu, sub, name));
    } else if (await sub.exists("cases.json")) {
      see(await samplingParity(gpu, sub, name));
    } else left.push(`${name}/`);
  }
  if (found === 0)
    throw new NotFoundError(
      `Cannot check parity with ${folder.path}: it holds no golden case (a folder with case.json, schedules.json, …)`,
    );
  return { left };
}

async function main(argv: string[]): Promise<number> {
  const mode = argv.includes("--bf16") ? "bf16" : argv.includes("--high") ? "high" : "f32";
  const [path = GOLDEN, ...more] = argv.filter((arg) => arg !== `--${mode}`);
  if (more.length > 0 || path.startsWith("-")) {
    console.error(
      "usage: npm run parity [-- --bf16 | --high] [FOLDER]   (default tests/golden, whose README says how such a folder is laid out)",
    );
    return 2;
  }
  const { gpu } = await openGpu();
  if (mode === "high" && gpu.features.matrix?.type !== "f16") {
    console.error(`Cannot check matmul_precision high: ${gpu.adapterName} has no matrix units of f16`);
    return 1;
  }
  console.log(`Parity with ${path} on ${gpu.adapterName}${gpu.features.f16 ? ", with f16" : ""}, ${mode}`);
  let [passed, failed] = [0, 0];
  const show = ({ case: title, check, worst, tolerance }: ParityRow) => {
    const ok = worst <= tolerance;
    if (ok) passed++;
    else failed++;
    console.log(
      `${ok ? "ok  " : "FAIL"}  ${title.padEnd(20)} ${check.padEnd(44)} ${worst.toExponential(2)}  (at most ${tolerance.toExponential(0)})`,
    );
  };
  const { left } = await runParity(gpu, nodeFolder(path), show, mode);
  if (left.length > 0)
    console.log(`Not checked, because this version has nothing to check them with: ${left.join(", ")}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

if (import.meta.url === `file://${process.argv[1]}` || process.argv[1]?.endsWith("parity.ts")) {
  main(process.argv.slice(2)).then(
    (code) => process.exit(code),
    (error) => {
      console.error(error instanceof QwenchError ? `${error.name}: ${error.message}` : error);
      process.exit(1);
    },
  );
}
