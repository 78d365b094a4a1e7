import { QwenchError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import {
  type ExportFormat,
  type ExportRequest,
  exportFiles,
  type FloatDtype,
  type GgufQuantization,
  openExport,
} from "../export.ts";
import { checkExport, type ExportCheck, exportPassed } from "../export-check.ts";
import { type CallHost, type CallProgress, currentHost } from "./host.ts";
import { inputName, type ModelInput } from "./inputs.ts";
import { Narrator, stoppable } from "./narrator.ts";
import { openFolders } from "./text.ts";

/** What to export. */
export interface ExportCall {
  /** the base; default: the base that the adapter names */
  model?: ModelInput;
  /** a PEFT adapter; `lora` needs one */
  adapter?: ModelInput;
  /** `lora`, `merged_16bit`, `merged_4bit` or `gguf` */
  format: ExportFormat;
  /** for gguf; default q8_0 */
  quantization?: GgufQuantization;
  /** of a merged model's unquantised weights; default: the base's 16-bit dtype */
  dtype?: FloatDtype;
  /** an empty folder: a path, a name in the browser's storage, or an open folder */
  output: string | Folder;
  /** the model's name inside a GGUF and at the start of its file's name; default: the output's last name */
  name?: string;
  /** whether to load the result and compare it with the adapter; default true */
  check?: boolean;
  /** an open device for the check; default: one that all calls share */
  gpu?: Gpu;
  /** ends the work; the call throws `AbortError` */
  signal?: AbortSignal;
}

/** Events of a call of `exportModel`. */
export type ExportCallEvent =
  | CallProgress
  | { type: "file"; name: string }
  | { type: "check"; check: ExportCheck; passed: boolean }
  | { type: "end"; files: string[] };

/**
 * Writes an adapter, or its base with the adapter merged, by one call, and checks that the result behaves like it.
 *
 * @throws {QwenchError} `output` holds files; the result does not behave like the adapter
 * @throws {UnsupportedError} `lora` without an adapter; a tokenizer or value that the format cannot represent
 * @throws {FormatError} a value is not finite; the adapter belongs to another base
 */
export function exportModel(call: ExportCall): AsyncGenerator<ExportCallEvent, void> {
  return stoppable(call.signal, (signal) => write(currentHost(), call, signal));
}

async function* write(host: CallHost, call: ExportCall, signal: AbortSignal): AsyncGenerator<ExportCallEvent> {
  const narrator = new Narrator();
  const output = typeof call.output === "string" ? host.folder(call.output) : call.output;
  const [there] = await output.list();
  if (there !== undefined) {
    throw new QwenchError(`Cannot export to ${output.path}: it holds ${there}. Name an empty or a new folder`);
  }
  const { model, adapter } = yield* narrator.during(openFolders(host, call, { signal, report: narrator.report }));
  const source = yield* narrator.during(openExport(model, adapter));
  const request: ExportRequest = {
    format: call.format,
    quantization: call.quantization,
    dtype: call.dtype ?? null,
    name: call.name ?? (output.path.split(/[\\/:]/).at(-1) || "model"),
    base: call.model === undefined ? model.path : inputName(call.model),
    signal,
    onProgress: (done, total) => narrator.report("the export", done, total, "bytes"),
  };
  const files: string[] = [];
  for await (const { name, content } of exportFiles(source, request)) {
    yield* narrator.during(output.write(name, content));
    files.push(name);
    yield { type: "file", name };
  }
  if (call.check ?? true) {
    const { gpu } = call.gpu ? { gpu: call.gpu.again() } : await host.openGpu();
    const onProgress = (what: string, done: number, total: number) => narrator.report(what, done, total, "bytes");
    const check = yield* narrator.during(checkExport(gpu, source, output, request, { signal, onProgress }));
    const passed = exportPassed(check);
    yield { type: "check", check, passed };
    if (!passed) {
      throw new QwenchError(
        `The export in ${output.path} does not behave like its source: the worst logit differs by ${(100 * check.worst).toFixed(2)} % of the largest; ${(100 * check.tolerance).toFixed(2)} % are allowed`,
      );
    }
  }
  yield { type: "end", files };
}
