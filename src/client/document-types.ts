import type { ReadDocument } from "../data/documents/document.ts";
import type { Pair } from "../data/documents/pair.ts";
import type { CreateType } from "../data/documents/prompts.ts";
import type { RatedPair } from "../session/data/folder.ts";
import type { ModelSource, Stream } from "./sources.ts";

// What a page and its worker exchange about the user's documents.

/** A document in storage. */
export interface StoredDocument {
  /** unique; its chunks are NAME_0, NAME_1 … */
  name: string;
  /** file name */
  source: string;
  format: ReadDocument["format"];
  title: string | null;
  /** 0 if the format has no pages */
  pages: number;
  characters: number;
}

/** A part of a document for one prompt. */
export interface DocumentChunk {
  name: string;
  text: string;
  tokens: number;
  /** the pages that it comes from; empty if the format has none */
  pages: number[];
}

/** The pairs of one chunk. */
export interface ChunkPairs {
  chunk: string;
  source: string;
  pages: number[];
  kept: RatedPair[];
  /** each with its reason */
  dropped: RatedPair[];
  /** replies that could not be read */
  unread: number;
}

/** Who writes and rates pairs: a model on this machine, or an OpenAI-compatible endpoint. The key is never stored. */
export type PairWriter =
  | { kind: "model"; model: ModelSource }
  | { kind: "endpoint"; url: string; model: string; key: string | null };

/** Sizes in tokens; null: the defaults, or less if the model has few positions. */
export interface PairSizes {
  max_seq_length: number | null;
  max_generation_tokens: number | null;
}

/** What to make of the documents. */
export interface PairsRequest extends PairSizes {
  writer: PairWriter;
  type: CreateType;
  /** most pairs of a chunk */
  num_pairs: number;
}

/** How to leave pairs out. Near-duplicates always go. */
export interface CurateRequest {
  writer: PairWriter;
  /** pairs rated below it are left out; null: no ratings */
  threshold: number | null;
  /** leave out answers that their chunk does not support */
  support: boolean;
}

/** Events while pairs are made or rated. `pairs`: made so far in this call. */
export type PairsEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  | { type: "replies"; stage: "create" | "curate" | "support"; done: number; total: number; pairs: number }
  | { type: "end"; asked: number; cached: number; unread: number };

/** Documents, and the pairs that a model makes of them, in storage. Work that was cut off continues with the same request. */
export interface DocumentTrainer {
  list(): Promise<{ documents: StoredDocument[]; pairs: ChunkPairs[] }>;
  /** Stores a document that the library's `readDocument` has read, and removes an earlier one of the same source. */
  add(document: ReadDocument, file: { sha256: string; bytes: number }): Promise<StoredDocument>;
  /** Removes a document with its pairs; without a name, all of them. */
  remove(name?: string): Promise<void>;
  /** The chunks of a document for a writer's tokenizer. Downloads no weights. */
  chunks(name: string, writer: PairWriter, sizes: PairSizes): Promise<DocumentChunk[]>;
  make(request: PairsRequest, options?: { signal?: AbortSignal }): Stream<PairsEvent>;
  curate(request: CurateRequest, options?: { signal?: AbortSignal }): Stream<PairsEvent>;
  /** Changes a pair by hand: other texts, or whether it is kept. @returns its chunk's pairs */
  change(chunk: string, pair: Pair, to: { pair: Pair } | { kept: boolean }): Promise<ChunkPairs>;
  /** The kept pairs as a JSONL file of conversations. @param metadata adds source, chunk, pages and rating to each row */
  rows(metadata: boolean): Promise<{ file: File; rows: number }>;
}

export type { CreateType, Pair, RatedPair, ReadDocument };
