import type { Method } from "../recipe/field.ts";

// Models, a run's adapters, and chats with them, between a page and its worker.

/** Where a model comes from. `files`: a folder that the user picked. `stored`: a name from storage.list(). */
export type ModelSource =
  | { kind: "embedded" }
  | { kind: "hub"; id: string; revision?: string }
  | { kind: "files"; name: string; files: File[] }
  | { kind: "stored"; id: string };

/** An adapter of a run that is kept. `step`: of its checkpoint; null: the phase's final adapter. */
export interface RunCheckpoint {
  phase: number;
  method: Method;
  step: number | null;
}

/** A message of a chat. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
  /** PNG, JPEG or WebP files before the text */
  images?: Blob[];
}

/** A question to a model, with the conversation so far. */
export interface ChatRequest {
  /** the run whose adapter answers; null: the base model */
  run: string | null;
  model: ModelSource;
  /** false: the base model answers, for comparison */
  adapter: boolean;
  /** which of the run's adapters answers; default: the newest */
  checkpoint?: Pick<RunCheckpoint, "phase" | "step"> | null;
  messages: ChatMessage[];
  temperature?: number;
  top_p?: number;
  max_new_tokens?: number;
  seed?: number;
}

/** Events of a chat while the model answers. */
export type ChatEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  /** new text, in whole characters */
  | { type: "text"; text: string }
  | { type: "end"; finish_reason: "stop" | "length"; tokens: number; seconds: number };
