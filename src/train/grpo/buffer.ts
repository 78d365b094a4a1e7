import { FormatError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import type { ExtraFile } from "../checkpoint.ts";
import type { GrpoSequence } from "./sequences.ts";

/** A generation batch that steps still train on. */
export interface GenerationBuffer {
  /** its number, from 0 over the whole run */
  generation: number;
  /** group by group */
  sequences: GrpoSequence[];
  /** completion tokens that are trained on */
  active: number;
}

export const BUFFER_FILE = "generation_buffer.json";

/** The buffer as a checkpoint's file. Numbers are stored as exact f32 values. */
export function bufferFile({ generation, sequences, active }: GenerationBuffer): ExtraFile {
  const list = (values: ArrayLike<number> | null | undefined) => (values ? Array.from(values) : null);
  const plain = sequences.map((s) => ({
    prompt_ids: list(s.prompt_ids),
    completion_ids: list(s.completion_ids),
    completion_mask: list(s.completion_mask),
    advantage: s.advantage,
    old_logps: list(s.old_logps),
    ref_logps: list(s.ref_logps),
  }));
  return { name: BUFFER_FILE, text: `${JSON.stringify({ generation, active, sequences: plain })}\n` };
}

/** The buffer of a checkpoint, or null if that was saved between two generation batches. @throws {FormatError} */
export async function readBuffer(folder: Folder): Promise<GenerationBuffer | null> {
  if (!(await folder.exists(BUFFER_FILE))) return null;
  const where = `${folder.path}/${BUFFER_FILE}`;
  let buffer: GenerationBuffer;
  try {
    buffer = parseBoundedJson(await folder.readText(BUFFER_FILE), { values: 100_000_000 }) as GenerationBuffer;
  } catch (error) {
    throw new FormatError(`Cannot read ${where}: ${(error as Error).message}`);
  }
  const numbers = (values: unknown, length?: number) =>
    Array.isArray(values) && values.every(Number.isFinite) && (length === undefined || values.length === length);
  const whole = (s: GrpoSequence) =>
    numbers(s?.prompt_ids) &&
    numbers(s.completion_ids) &&
    Number.isFinite(s.advantage) &&
    [s.completion_mask, s.old_logps, s.ref_logps].every((v) => v === null || numbers(v, s.completion_ids.length));
  if (
    !Number.isInteger(buffer?.generation) ||
    !Number.isInteger(buffer.active) ||
    !Array.isArray(buffer.sequences) ||
    !buffer.sequences.every(whole)
  ) {
    throw new FormatError(`Cannot read ${where}: it is not a generation buffer that Qwench wrote`);
  }
  return buffer;
}
