import { createStore, get, set } from "idb-keyval";
import type { TuningStore } from "../../src/session/tune.ts";

/** Measurements of this browser's adapters, stored in IndexedDB. */
export function tuningStore(): TuningStore {
  return storeNamed("qwench-tuning");
}

/** What this browser's adapters were measured at for time forecasts, and what earlier runs took, stored in IndexedDB. */
export function timesStore(): TuningStore {
  return storeNamed("qwench-times");
}

function storeNamed(database: string): TuningStore {
  const store = createStore(database, "adapters");
  return {
    read: async (adapter) => (await get<string>(adapter, store)) ?? null,
    write: (adapter, text) => set(adapter, text, store),
  };
}
