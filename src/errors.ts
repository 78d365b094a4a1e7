/**
 * Every failure that Qwench raises on purpose. `name` is stable and survives a worker boundary (comlink keeps `name`
 * and `message` only), so callers match on `error.name`; the message says what was tried, the rule and the value.
 */
export class QwenchError extends Error {
  override name = "QwenchError";
}

/** Tensor shapes or dtypes that do not fit together. */
export class ShapeError extends QwenchError {
  override name = "ShapeError";
}

/** No adapter, a lost device, a shader that does not compile, a refused dispatch. */
export class GpuError extends QwenchError {
  override name = "GpuError";
}

/** What was asked does not fit the adapter's memory or limits. */
export class MemoryError extends QwenchError {
  override name = "MemoryError";
}

/** A recipe key or value that cannot be used. The CLI exits 2 on flags, 1 on files. */
export class RecipeError extends QwenchError {
  override name = "RecipeError";
}

/** A file, header, index or hub answer that is not what its format says. */
export class FormatError extends QwenchError {
  override name = "FormatError";
}

/** A file, folder, model or data set that is not there, or may not be read. */
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

/** A data row that cannot be turned into tokens and labels; the message holds its file and number. */
export class DataError extends QwenchError {
  override name = "DataError";
}

/** Training that cannot go on: a loss or gradient that is not finite. */
export class TrainingError extends QwenchError {
  override name = "TrainingError";
}

/** The caller's AbortSignal, or Ctrl-C, ended the work at a step boundary. */
export class AbortError extends QwenchError {
  override name = "AbortError";
}

/** What is asked for is in use: another tab trains, or this one does something else. */
export class BusyError extends QwenchError {
  override name = "BusyError";
}

/** The browser's storage for this site is full; the message says what was needed and what is free. */
export class QuotaError extends QwenchError {
  override name = "QuotaError";
}
