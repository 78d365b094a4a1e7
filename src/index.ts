// The library's entry for browsers. src/headless.ts is the same for Node and Deno.
import { browserHost } from "./hosts/browser.ts";
import { useHost } from "./session/call/host.ts";

useHost(browserHost);

export { readRows } from "./data/dataset.ts";
export { type Chunk, type ChunkSizes, chunkText, roughTokens, type TokenCounter } from "./data/documents/chunks.ts";
export { DATA_DEFAULTS, type DataConfig, parseDataConfig } from "./data/documents/config.ts";
export { type DocumentPage, joinPages, type ReadDocument, type ReadOptions } from "./data/documents/document.ts";
export { isDocument, readDocument } from "./data/documents/read.ts";
export { readMarks, readPairs } from "./data/documents/reply.ts";
export { SYSTEM_PROMPTS } from "./data/sets/forms.ts";
export { DATA_SETS, dataSetNamed, readDataSet, type SetOptions } from "./data/sets/registry.ts";
export { loadTokenizer, type Tokenizer } from "./data/tokenizer.ts";
export * from "./errors.ts";
export type { GpuFeatures } from "./gpu/context.ts";
export { Gpu, requestGpu } from "./gpu/device.ts";
export type { AdapterProfile } from "./gpu/profile.ts";
export { type Checkpoint, openCheckpoint } from "./io/checkpoint.ts";
export { downloadDataset } from "./io/hub/dataset.ts";
export { downloadModel } from "./io/hub/hub.ts";
export { memoryFolder } from "./io/memory-folder.ts";
export { readAdapter, writeAdapter } from "./io/peft.ts";
export type { ByteSource, Folder } from "./io/storage.ts";
export { loadModel } from "./model/files/load.ts";
export { Transformer } from "./model/transformer.ts";
export {
  type DpoRecipe,
  fields,
  type GrpoRecipe,
  parseRecipe,
  type SftRecipe,
} from "./recipe/recipe.ts";
export { formatRecipeYaml, parseRecipeYaml } from "./recipe/yaml.ts";
export { type Figure, renderFigure } from "./report/figure.ts";
export { type Grade, type GradeOptions, grade, mathsEqual } from "./rewards/maths/grade.ts";
export { REWARDS, type RewardFactory, type RewardParameters, rewardNamed } from "./rewards/registry.ts";
export type { NamedReward, RewardContext, RewardFunction } from "./rewards/reward.ts";
export { type EvaluateCall, type EvaluateEvent, evaluate } from "./session/call/evaluate.ts";
export { type ExportCall, type ExportCallEvent, exportModel } from "./session/call/export.ts";
export { type GenerateCall, type GenerateEvent, generate } from "./session/call/generate.ts";
export type { CallProgress } from "./session/call/host.ts";
export type { DataInput, DataRow, ModelInput } from "./session/call/inputs.ts";
export type { ModelCall } from "./session/call/text.ts";
export { type TrainCall, type TrainCallEvent, type TrainPlan, train } from "./session/call/train.ts";
export * from "./session/chat.ts";
export type { Asker } from "./session/data/ask.ts";
export { type EndpointAsker, endpointAsker } from "./session/data/endpoint.ts";
export { DataFolder } from "./session/data/folder.ts";
export { localAsker } from "./session/data/local.ts";
export { saveRows, writeReport } from "./session/data/save.ts";
export { chunkDocuments, createPairs, curatePairs, ingestDocument } from "./session/data/stages.ts";
export { type DeviceTimes, measureTimes } from "./session/device-times.ts";
export * from "./session/dpo.ts";
export * from "./session/evaluate.ts";
export * from "./session/export.ts";
export * from "./session/export-check.ts";
export * from "./session/generate.ts";
export * from "./session/grpo.ts";
export { type ImageAccess, imagesFrom } from "./session/images.ts";
export * from "./session/open.ts";
export { type OpenedRewards, openRewards, type RewardModules, type RewardPlatform } from "./session/rewards.ts";
export * from "./session/sft.ts";
export { type EarlierRun, forecastTime, type TimeInput, timeInputOf } from "./session/time-forecast.ts";
export * from "./session/tokenizer.ts";
export * from "./session/train.ts";
export * from "./session/tune.ts";
export { checkForecast, type MemoryForecast } from "./train/forecast/memory.ts";
export type { LogRecord } from "./train/metrics.ts";
