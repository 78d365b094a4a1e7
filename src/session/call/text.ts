import { FormatError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { readJson } from "../../io/checkpoint.ts";
import { ADAPTER_CONFIG_FILE } from "../../io/peft.ts";
import type { Folder } from "../../io/storage.ts";
import type { LoadDType } from "../../model/files/load.ts";
import { loadText, type PreparedText, prepareText, type TextModel, type TextSources } from "../generate.ts";
import { bf16OfRun } from "../run-file.ts";
import { recallTuning } from "../tune.ts";
import type { CallHost, CallProgress, Following } from "./host.ts";
import { type ModelInput, openModelInput } from "./inputs.ts";
import type { Narrator } from "./narrator.ts";

/** Which model writes. */
export interface ModelCall {
  /** the model; default: the base that the adapter names, else the embedded model */
  model?: ModelInput;
  /** a PEFT adapter, switched on */
  adapter?: ModelInput;
  /** dtype of the weights; default `auto`, the files' own */
  dtype?: LoadDType;
  /** NF4 weights, as in QLoRA */
  load_in_4bit?: boolean;
  /** int8 weights */
  load_in_8bit?: boolean;
  /** keep keys and values as bf16; default: as the run trained whose `output` the adapter or the model is */
  bf16?: boolean;
  /** replaces the tokenizer's chat template */
  chat_template?: string;
  /** an open device, whose kernels are used and whose tensors stay; default: one that all calls share */
  gpu?: Gpu;
  /** ends the work; the call throws `AbortError` */
  signal?: AbortSignal;
}

/** A model's folders, opened. */
interface OpenedModel {
  model: Folder;
  adapter: Folder | null;
}

/** Opens the folders of a call's model and adapter. @throws {FormatError} there is no model, and the adapter names none */
export async function openFolders(
  host: CallHost,
  { model, adapter }: Pick<ModelCall, "model" | "adapter">,
  following: Following,
): Promise<OpenedModel> {
  const opened = adapter === undefined ? null : await openModelInput(host, adapter, following);
  if (model !== undefined) return { model: await openModelInput(host, model, following), adapter: opened };
  if (opened) {
    const { base_model_name_or_path: base } = await readJson(opened, ADAPTER_CONFIG_FILE);
    if (typeof base !== "string" || base === "") {
      throw new FormatError(
        `Cannot tell the base of the adapter ${opened.path}: ${ADAPTER_CONFIG_FILE} names none. Give a model`,
      );
    }
    return { model: await openModelInput(host, base, following), adapter: opened };
  }
  const { model_name_or_path: embedded } = host.embedded("sft", {}) ?? {};
  if (typeof embedded === "string") return { model: await openModelInput(host, embedded, following), adapter: null };
  throw new FormatError("Cannot tell which model to use: give a model or an adapter");
}

/** A model whose files are read, and then its weights. */
export interface OpenedText extends OpenedModel {
  gpu: Gpu;
  prepared: PreparedText;
  load(): Promise<TextModel>;
}

/** Opens a call's model for writing text; its weights are not loaded yet. */
export async function* openText(
  host: CallHost,
  call: ModelCall,
  signal: AbortSignal,
  narrator: Narrator,
): AsyncGenerator<CallProgress, OpenedText> {
  const following = { signal, report: narrator.report };
  const folders = yield* narrator.during(openFolders(host, call, following));
  const opened = call.gpu ? { gpu: call.gpu.again(), available: null } : await host.openGpu();
  const { gpu, available } = opened;
  if (host.tuning) await recallTuning(gpu, host.tuning);
  const type = call.load_in_4bit ? "nf4" : call.load_in_8bit ? "int8" : null;
  const { adapter, model } = folders;
  const bf16 = call.bf16 ?? (adapter && (await bf16OfRun(adapter))) ?? (await bf16OfRun(model)) ?? false;
  const sources: TextSources = {
    ...folders,
    bf16,
    gpu,
    chat_template: call.chat_template ?? null,
    dtype: call.dtype ?? "auto",
    quantization: type && { type, double: false },
    available,
    signal,
    onProgress: narrator.onProgress,
  };
  const prepared = yield* narrator.during(prepareText(sources));
  return { ...folders, gpu, prepared, load: () => loadText(prepared, sources) };
}
