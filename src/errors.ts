/**
 * Base class of every error that Qwench throws on purpose. Match on `error.name`: it is stable and survives a worker boundary,
 * where comlink keeps only `name` and `message`. The message says what was tried, the rule and the value.
 */
export class QwenchError extends Error {
  override name = "QwenchError";
}

/** Tensor shapes or dtypes that do not match. */
export class ShapeError extends QwenchError {
  override name = "ShapeError";
}

/** No adapter, a lost device, a shader that does not compile, or a rejected dispatch. */
export class GpuError extends QwenchError {
  override name = "GpuError";
}

/** The request exceeds the adapter's memory or limits. */
export class MemoryError extends QwenchError {
  override name = "MemoryError";
}

/** An invalid recipe key or value. The CLI exits with 2 for a flag and with 1 for a file. */
export class RecipeError extends QwenchError {
  override name = "RecipeError";
}

/** A file, header, index or hub response that violates its format. */
export class FormatError extends QwenchError {
  override name = "FormatError";
}

/** A file, folder, model or data set that does not exist or is not readable. */
export class NotFoundError extends QwenchError {
  override name = "NotFoundError";
}

/** A network request that failed after its retries. */
export class NetworkError extends QwenchError {
  override name = "NetworkError";
}

/** An architecture or config field that Qwench does not implement. */
export class UnsupportedError extends QwenchError {
  override name = "UnsupportedError";
}

/** A data row that cannot become tokens and labels. The message names its file and row number. */
export class DataError extends QwenchError {
  override name = "DataError";
}

/** Training cannot continue: a loss or gradient is not finite. */
export class TrainingError extends QwenchError {
  override name = "TrainingError";
}

/** The caller's AbortSignal or Ctrl-C ended the work at a step boundary. */
export class AbortError extends QwenchError {
  override name = "AbortError";
}

/** The resource is in use: another tab is training, or this tab is doing other work. */
export class BusyError extends QwenchError {
  override name = "BusyError";
}

/** The browser's storage for this site is full. The message says how much was needed and how much is free. */
export class QuotaError extends QwenchError {
  override name = "QuotaError";
}
