import { createStore, get, set } from "idb-keyval";
import type { TuningStore } from "../../src/session/tune.ts";

/** Measurements of this browser's adapters, stored in IndexedDB. */
export function tuningStore(): TuningStore {
  const store = createStore("qwench-tuning", "adapters");
  return {
    read: async (adapter) => (await get<string>(adapter, store)) ?? null,
    write: (adapter, text) => set(adapter, text, store),
  };
}
