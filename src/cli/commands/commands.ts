import { createRequire } from "node:module";
import type { Gpu } from "../../gpu/device.ts";
import type { AdapterProfile } from "../../gpu/profile.ts";
import { describeSubgroupMatrices, refusesSubgroupMatrix } from "../../gpu/subgroup-matrix.ts";
import { allCases } from "../../kernels/cases.ts";
import { runCase } from "../../kernels/check.ts";
import type { Platform } from "../../platform/index.ts";
import type { GrpoRecipe, Method, SftRecipe } from "../../recipe/recipe.ts";
import { timeInputOf } from "../../session/time-forecast.ts";
import { prepareTraining } from "../../session/train.ts";
import { formatBytes } from "../../text/bytes.ts";
import { renderTable } from "../../text/tables.ts";
import { checkForecast } from "../../train/forecast/memory.ts";
import { type ParsedArgs, UsageError } from "../args.ts";
import { diskLine, downloadLine, lookingHost, measureFor, timeLine, UNMEASURED } from "../runs/costs.ts";
import { diskForecast } from "../runs/disk.ts";
import { kindOf } from "../runs/kinds.ts";
import { availableMemory, fitsText, openGpu, openToForecast } from "../runs/open-gpu.ts";
import { forecastTable, openSources, readRecipe } from "../runs/prepare.ts";
import { checkRecipeFiles } from "../sources/file-names.ts";
import { statusLine } from "../terminal/status-line.ts";
import { packageVersion } from "../version.ts";
import { planPublished } from "./recipe.ts";
import { environmentOf, rewardsOf } from "./train.ts";

/** `qwench plan`: forecasts what a run takes (memory, download, disk, time) and says whether it fits. Downloads no weights. */
export async function runPlan(args: ParsedArgs, method?: Method): Promise<number> {
  const { flags, overrides } = args;
  if (
    typeof flags.recipe === "string" &&
    !["model_name_or_path", "dataset_name", "datasets"].some((name) => name in overrides)
  ) {
    return planPublished(args, flags.recipe, method!);
  }
  return planRun(args, method!);
}

/** A recipe's run, prepared as for training. */
async function planRun<M extends Method>(args: ParsedArgs, method: M): Promise<number> {
  const { flags } = args;
  const { recipe, notes } = await readRecipe(args, method);
  const both = recipe as SftRecipe | GrpoRecipe;
  checkRecipeFiles(both);
  const opened = await rewardsOf(both);
  const environment = await environmentOf(both);
  await environment?.close(); // its schemas are part of prompts
  await opened?.close(); // opening the rewards has reported any errors; nothing will be scored
  const { gpu, platform, describe } = await openToForecast();
  const status = statusLine();
  const { host, missing } = lookingHost();
  const { signal } = new AbortController();
  const sources = await openSources(both, gpu, signal, status, host);
  const training = await prepareTraining(method, recipe, { ...sources, rewards: opened?.rewards, environment });
  const { prepared } = training;
  status(null);
  for (const note of [...notes, ...prepared.notes]) console.error(`note: ${note}`);
  const available = availableMemory(platform, both.max_memory);
  console.log(`Adapter: ${describe}`);
  console.log(kindOf(training).description);
  console.log(`largest micro-batch: ${prepared.forecast.tokens} tokens\n`);
  console.log(forecastTable(prepared, available));
  console.log(downloadLine(missing()));
  console.log(await diskLine(diskForecast(both, prepared), both.output_dir));
  const model = both.model_name_or_path!;
  const { config } = prepared;
  const input = () => timeInputOf(training);
  const measure = measureFor(platform, flags.measure === true);
  const time = platform && (await timeLine({ gpu, config, input, model, measure, signal, status }));
  if (platform) console.log(`${time ?? UNMEASURED}\n`);
  checkForecast(prepared.forecast, available);
  console.log(fitsText(available));
  return 0;
}

/** `qwench info`: the adapter, its features and limits, and which of them Qwench uses. */
export async function runInfo({ positional, flags }: ParsedArgs): Promise<number> {
  if (positional.length > 0) throw new UsageError(`qwench info takes no arguments, got ${positional.join(" ")}`);
  const { gpu, platform } = await openGpu();
  const facts = infoOf(gpu, platform);
  if (flags.json) console.log(JSON.stringify(facts, null, 2));
  else {
    console.log(
      renderTable(
        [{ heading: "what" }, { heading: "value" }],
        Object.entries(facts).map(([key, value]) => [key, String(value)]),
        process.stdout.columns,
      ),
    );
    if (platform.advice) console.log(platform.advice);
  }
  return 0;
}

/** The matrix units that the adapter offers, and which of them products use. */
function matricesOf({ features }: Gpu, adapter: GPUAdapter): string {
  if (refusesSubgroupMatrix(process.env)) return "turned off by QWENCH_SUBGROUP_MATRIX=0";
  const kinds = describeSubgroupMatrices(adapter);
  if (!kinds) return "none";
  const { matrix } = features;
  const used = matrix
    ? `${matrix.type} ${matrix.m}×${matrix.n}×${matrix.k}`
    : "none: no usable kind, or it failed its test";
  return `used: ${used}; offered: ${kinds.join(", ") || "no configuration"}`;
}

/** `32 lanes`, `8 to 32 lanes, 16 on request`, or false without subgroups. */
function subgroupText({ subgroup }: AdapterProfile): string | false {
  if (!subgroup) return false;
  const { min, max, size, asks } = subgroup;
  if (size !== null && !asks) return `${size} lanes`;
  return `${max > 0 ? `${min} to ${max} lanes` : "of varying size"}${asks ? `, ${size} on request` : ""}`;
}

/** `node 20.20.2`, `deno 2.9.6`. */
function runtimeVersion(): string {
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  return deno ? `deno ${deno}` : bun ? `bun ${bun}` : `node ${node}`;
}

/** The version of the npm package that provides WebGPU in Node; none in Deno, which has its own. */
function dawnVersion(): Record<string, string> {
  if (process.versions.deno) return {};
  try {
    return { "webgpu (Dawn)": createRequire(import.meta.url)("webgpu/package.json").version };
  } catch {
    return {};
  }
}

function infoOf(gpu: Gpu, platform: Platform): Record<string, unknown> {
  const {
    maxBufferSize,
    maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup,
  } = gpu.limits;
  const { f16, timestamps } = gpu.features;
  return {
    qwench: packageVersion(),
    runtime: runtimeVersion(),
    ...dawnVersion(),
    adapter: platform.describe,
    software: platform.software,
    "f16 (offered and correct)": f16,
    subgroups: subgroupText(gpu.profile),
    "subgroup matrices": matricesOf(gpu, platform.adapter),
    "timestamps (for --profile)": timestamps,
    "weight dtypes": f16 ? "f32, f16, bf16" : "f32, bf16 (f16 files are widened)",
    maxBufferSize: formatBytes(maxBufferSize),
    maxStorageBufferBindingSize: formatBytes(maxStorageBufferBindingSize),
    maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize: formatBytes(maxComputeWorkgroupStorageSize),
    maxComputeInvocationsPerWorkgroup,
  };
}

/** `qwench doctor`: every kernel's cases against float64 on this adapter. @returns 1 if a case fails */
export async function runDoctor({ positional }: ParsedArgs): Promise<number> {
  if (positional.length > 0) throw new UsageError(`qwench doctor takes no arguments, got ${positional.join(" ")}`);
  const { gpu, platform } = await openGpu();
  console.log(`Adapter: ${platform.describe}`);
  console.log(`Subgroup matrices: ${matricesOf(gpu, platform.adapter)}\n`);
  const kernels = new Map<
    string,
    { cases: number; skipped: number; failed: string[]; worst: number; tolerance: number }
  >();
  for (const item of allCases) {
    const row = kernels.get(item.kernel) ?? { cases: 0, skipped: 0, failed: [], worst: 0, tolerance: 0 };
    kernels.set(item.kernel, row);
    row.cases++;
    try {
      const { worst, ok, skipped, what, tolerance } = await runCase(gpu, item);
      if (skipped) row.skipped++;
      else if (!ok)
        row.failed.push(
          `${item.name}: ${what} off by ${worst.toExponential(2)}, allowed ${tolerance.toExponential(0)}`,
        );
      // show the case that is closest to its tolerance
      if (worst / tolerance >= row.worst / (row.tolerance || 1)) [row.worst, row.tolerance] = [worst, tolerance];
    } catch (error) {
      row.failed.push(`${item.name}: ${(error as Error).message}`);
      gpu.check(); // after a device loss, further results mean nothing
    }
  }
  const columns = ["kernel", "cases", "left out", "worst error", "allowed", "verdict"].map((heading, i) => ({
    heading,
    align: i > 0 && i < 5 ? ("right" as const) : ("left" as const),
  }));
  const rows = [...kernels].map(([kernel, { cases, skipped, failed, worst, tolerance }]) => [
    kernel,
    cases,
    skipped || "",
    worst.toExponential(1),
    tolerance.toExponential(0),
    failed.length > 0 ? `${failed.length} FAILED` : "ok",
  ]);
  console.log(renderTable(columns, rows, process.stdout.columns));
  if (!gpu.features.f16)
    console.log("Skipped the cases that need f16: this adapter has no f16, or computes it incorrectly.");
  const failures = [...kernels.values()].flatMap(({ failed }) => failed);
  for (const failure of failures) console.log(`FAILED ${failure}`);
  console.log(
    failures.length > 0
      ? `${failures.length} cases failed: do not train on this adapter.`
      : "Every kernel is correct on this adapter.",
  );
  return failures.length > 0 ? 1 : 0;
}
