import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { HubOptions } from "../../io/hub/hub.ts";
import type { Folder } from "../../io/storage.ts";
import type { LoadDType, Quantization } from "../../model/files/load.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { type PreparedText, prepareText, type TextSources } from "../../session/generate.ts";
import { bf16OfRun } from "../../session/run-file.ts";
import { recallTuning } from "../../session/tune.ts";
import { formatFileSize } from "../../text/bytes.ts";
import { type ParsedArgs, UsageError } from "../args.ts";
import { textOf } from "../flags/text-flags.ts";
import { availableMemory, openGpu } from "../runs/open-gpu.ts";
import { tuningStore } from "../runs/tuning.ts";
import { embeddedModelFolder } from "./embedded-folder.ts";
import { hubOptions } from "./hub.ts";
import { baseOf, openBaseOf, openChatTemplate, openModelFolder } from "./sources.ts";

const DTYPES: readonly string[] = ["auto", "float32", "float16", "bfloat16"];

/** A parsed command line, checked before any file is opened. */
export interface ModelRequest {
  model: string | null;
  revision: string;
  adapter: string | null;
  dtype: LoadDType;
  quantization: Quantization | null;
  /** null: as the adapter's or the model's run was trained */
  bf16: boolean | null;
  template: string | null;
}

/** @throws {UsageError} two flags for the same value, or an unknown dtype */
export function modelRequest(flags: ParsedArgs["flags"]): ModelRequest {
  const one = (name: string, other: string) => {
    const [value, same] = [textOf(flags, name), textOf(flags, other)];
    if (value !== null && same !== null)
      throw new UsageError(`--${name} and --${other} are the same: give one of them`);
    if ((value ?? same) === "") throw new UsageError(`--${name} must not be empty`);
    return value ?? same;
  };
  const dtype = textOf(flags, "dtype") ?? "auto";
  if (!DTYPES.includes(dtype)) throw new UsageError(`--dtype must be one of ${DTYPES.join(", ")}, got ${dtype}`);
  const [nf4, int8, double] = ["load_in_4bit", "load_in_8bit", "use_bnb_nested_quant"].map(
    (name) => flags[name] === true,
  );
  if (nf4 && int8) throw new UsageError("--load_in_4bit and --load_in_8bit exclude each other");
  const bf16 = textOf(flags, "bf16");
  if (bf16 !== null && bf16 !== "true" && bf16 !== "false")
    throw new UsageError(`--bf16 must be true or false, got ${bf16}`);
  if (double && !nf4) throw new UsageError("--use_bnb_nested_quant needs --load_in_4bit");
  return {
    quantization: nf4 ? { type: "nf4", double } : int8 ? { type: "int8", double: false } : null,
    model: one("model", "model_name_or_path"),
    revision: textOf(flags, "model_revision") ?? "main",
    adapter: one("adapter", "adapter_name_or_path"),
    dtype: dtype as LoadDType,
    bf16: bf16 === null ? null : bf16 === "true",
    template: textOf(flags, "chat_template_path"),
  };
}

export interface OpenedText {
  prepared: PreparedText;
  sources: TextSources;
  hub: HubOptions;
}

/** Opens this machine's GPU adapter and the model's files, and prints notes about them. */
export async function openText(
  request: ModelRequest,
  signal: AbortSignal,
  status: (line: string | null) => void,
): Promise<OpenedText> {
  const hub = hubOptions(signal, ({ file, totalReceived, totalSize }) =>
    status(`Downloading ${file}: ${formatFileSize(totalReceived)} of ${formatFileSize(totalSize)}`),
  );
  const adapter = request.adapter ? await openModelFolder(request.adapter, "main", hub) : null;
  const model = await openBase(request, adapter, hub);
  const chat_template = request.template ? await openChatTemplate(request.template, hub) : null;
  const { gpu, platform } = await openGpu();
  console.error(`Adapter: ${platform.describe}`);
  await recallTuning(gpu, tuningStore());
  const bf16 = request.bf16 ?? (await bf16Of([adapter, model]));
  if (bf16 && request.bf16 === null)
    console.error("note: keys and values are kept as bf16, as this run was trained; --bf16 false keeps f32");
  const sources: TextSources = {
    gpu,
    model,
    adapter,
    chat_template,
    dtype: request.dtype,
    quantization: request.quantization,
    bf16,
    available: availableMemory(platform, null),
    signal,
    onProgress: (what, done, total) =>
      status(`Loading ${what}: ${formatFileSize(done)} of ${formatFileSize(total ?? done)}`),
  };
  const prepared = await prepareText(sources);
  status(null);
  const { ignored } = prepared.defaults;
  if (ignored.length > 0) {
    console.error(`note: generation_config.json asks for ${ignored.join(", ")}, which Qwench does not implement`);
  }
  return { prepared, sources, hub };
}

/** The given model, else the adapter's base, else the embedded model. */
async function openBase({ model, revision }: ModelRequest, adapter: Folder | null, hub: HubOptions): Promise<Folder> {
  if (model !== null) return openModelFolder(model, revision, hub);
  if (adapter) {
    const base = await baseOf(adapter);
    if (base !== "") return openBaseOf(adapter, base, revision, hub);
  }
  return nodeFolder(embeddedModelFolder());
}

/** Whether the run that wrote one of the folders, or whose checkpoint one is, trained with bf16. */
async function bf16Of(folders: readonly (Folder | null)[]): Promise<boolean> {
  for (const folder of folders) {
    if (!folder) continue;
    const { path } = folder;
    const found = (await bf16OfRun(folder)) ?? (existsSync(path) ? await bf16OfRun(nodeFolder(dirname(path))) : null);
    if (found !== null) return found;
  }
  return false;
}
