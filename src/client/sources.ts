/** Where a model comes from. `files`: a folder that the user picked. `stored`: a name from storage.list(). */
export type ModelSource =
  | { kind: "embedded" }
  | { kind: "hub"; id: string; revision?: string }
  | { kind: "files"; name: string; files: File[] }
  | { kind: "stored"; id: string };

/** An async iterable. Leaving the loop stops the work at the next step boundary. */
export type Stream<T> = AsyncIterable<T>;
