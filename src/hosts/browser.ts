import { createStore, get, set } from "idb-keyval";
import { readRows } from "../data/dataset.ts";
import type { NumberedRow } from "../data/rows.ts";
import { DATA_SETS, dataSetNamed, readDataSet, readSetOptions } from "../data/sets/registry.ts";
import { NotFoundError, RecipeError, UnsupportedError } from "../errors.ts";
import { requestGpu } from "../gpu/device.ts";
import { downloadDataset } from "../io/hub/dataset.ts";
import { downloadModel, type HubOptions } from "../io/hub/hub.ts";
import type { Folder } from "../io/storage.ts";
import { openBrowserAdapter } from "../platform/browser/browser.ts";
import { filesFolder } from "../platform/browser/files-folder.ts";
import { browserImages } from "../platform/browser/images.ts";
import { siteFolder } from "../platform/browser/place.ts";
import { roomLeft } from "../platform/browser/quota.ts";
import type { CallHost, Following, OpenedGpu } from "../session/call/host.ts";
import { mixtureOf } from "../session/call/mixture.ts";
import { moduleEntry } from "../session/reward-modules.ts";
import type { TuningStore } from "../session/tune.ts";
import { globPattern } from "../text/glob.ts";

declare const QWENCH_VERSION: string | undefined;

/** A hub id: `owner/name` or `name`. */
const HUB_ID = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;

/** Milliseconds before retrying a judge. */
const BACKOFF_MS = 1000;

let opened: Promise<OpenedGpu> | null = null;

/** What a page or a worker provides: its adapter, its storage, and the hub. */
export const browserHost: CallHost = {
  async openGpu() {
    const opening = (opened ??= openDevice());
    const forget = () => {
      if (opened === opening) opened = null; // the next call opens another
    };
    opening.then(({ gpu }) => gpu.device.lost.then(forget), forget);
    const { gpu, ...facts } = await opening;
    return { gpu: gpu.again(), ...facts };
  },
  folder: siteFolder,
  async model(name, revision, following) {
    const stored = siteFolder(name);
    const files = await stored.list();
    if (files.some((file) => /^(config|adapter_config)\.json$/.test(file))) return stored;
    if (!HUB_ID.test(name)) {
      throw new NotFoundError(
        `Cannot load ${name}: this site's storage has no such folder, and it is not a hub id (owner/name)`,
      );
    }
    return downloadModel(name, { ...(await hubOf(following)), revision });
  },
  async rows(name, split, fields, model, following) {
    const format = Object.hasOwn(DATA_SETS, name) ? name : (fields.dataset_format ?? null);
    const options = readSetOptions(fields.dataset_options ?? {});
    if (options.max_reasoning_tokens !== undefined || options.min_reasoning_tokens !== undefined) {
      throw new UnsupportedError(`Cannot count reasoning tokens of ${model.path} in a page: leave the limit out`);
    }
    if (format === null) return rowsOf(name, { config: fields.dataset_config ?? undefined, split }, following);
    const set = dataSetNamed(format);
    const from = options.shares ? "train" : split;
    const parts =
      format === name
        ? set.homes.map((home) => ({
            name: home.part ?? set.name,
            rows: rowsOf(
              home.id,
              { config: fields.dataset_config ?? home.config, split: home.splits?.[from] ?? from },
              following,
            ),
          }))
        : [{ rows: rowsOf(name, { config: fields.dataset_config ?? undefined, split: from }, following) }];
    return readDataSet(set, parts, { ...options, side: split, system_prompt: fields.system_prompt ?? null });
  },
  mixture: (datasets, following) =>
    mixtureOf(datasets, ({ path, name, split, data_dir, files }) => {
      const own = { ...(data_dir !== null && { data_dir }), ...(files !== null && { data_files: files }) };
      return rowsOf(path, { config: name ?? undefined, split, ...own }, following);
    }),
  splitsOwnRows: ({ eval_strategy, test_split_size, eval_dataset_name, dataset_train_split, dataset_test_split }) => {
    if (eval_strategy === "no") return false;
    if (test_split_size !== null) return true;
    if (eval_dataset_name === null && dataset_train_split === dataset_test_split) {
      throw new RecipeError(
        `Cannot evaluate on the training rows: dataset_train_split and dataset_test_split are both ${dataset_train_split}. Hold out some rows with test_split_size, or give eval rows`,
      );
    }
    return false;
  },
  chatTemplate: async (path) => {
    throw new UnsupportedError(`Cannot read the chat template ${path} in a page: give its text as chat_template`);
  },
  environment: async (path) => {
    throw new UnsupportedError(`Cannot load the environment ${path} in a page: give the functions as environment`);
  },
  embedded: () => null,
  files: (name, files) => filesFolder(name, new Map(files.map((file) => [file.name, file]))),
  version: typeof QWENCH_VERSION === "string" ? QWENCH_VERSION : "sources",
  get images() {
    return browserImages(siteFolder("features"));
  },
  rewards: {
    openCodePool: () => {
      throw new UnsupportedError(
        "Cannot run Python by the library in a page: createTrainer of qwench/client has workers for it",
      );
    },
    judge: {
      key: null,
      fetch: (input, init) => fetch(input, init), // must be called on the page or its worker
      backoff_ms: BACKOFF_MS,
      names: { service: "judge", url: "judge_url", key: "the option judge_key" },
      openCache: () => {
        throw new UnsupportedError("judge_cache is a folder of the disk, which a page does not have: leave it out");
      },
    },
    modules: {
      async open(entry) {
        if (!moduleEntry(entry)) return null;
        throw new UnsupportedError(
          `Cannot load the reward module ${entry} in a page: import it, and give its function in the option rewards`,
        );
      },
      notes: () => [],
      end: async () => {},
    },
  },
  get tuning() {
    return tuningStore();
  },
};

async function openDevice(): Promise<OpenedGpu> {
  const { adapter, f16, describe } = await openBrowserAdapter();
  const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"] });
  return { gpu, describe, available: null };
}

/** Which rows of a data set are read. */
interface Wanted {
  config?: string;
  split: string;
  data_dir?: string;
  data_files?: readonly string[];
}

/** Rows of a file or folder of the site's storage, or of a split on the hub, downloaded when they are first read. */
async function* rowsOf(name: string, wanted: Wanted, following: Following): AsyncGenerator<NumberedRow> {
  const stored = await storedRows(name, wanted);
  if (stored) {
    for (const file of stored.files) yield* readRows(await stored.folder.open(file));
    return;
  }
  if (!HUB_ID.test(name)) {
    throw new NotFoundError(
      `Cannot read rows from ${name}: this site's storage has no such file or folder, and it is not a hub id (owner/name). A page gives a file itself, its address, or the rows`,
    );
  }
  const { folder, files } = await downloadDataset(name, { ...(await hubOf(following)), ...wanted });
  for (const file of files) yield* readRows(await folder.open(file));
}

const DATA_FILE = /\.(jsonl?|csv|parquet|txt)$/i;

/** Files of the site's storage by the name of a file or folder; null: there are none. @throws {NotFoundError} none fits data_files */
async function storedRows(
  name: string,
  { data_dir, data_files }: Wanted,
): Promise<{ folder: Folder; files: string[] } | null> {
  const folder = siteFolder(data_dir ? `${name}/${data_dir}` : name);
  const inside = (await folder.list()).filter((file) => DATA_FILE.test(file)).sort();
  if (inside.length > 0) {
    const patterns = data_files?.map((pattern) => globPattern(pattern));
    const files = patterns ? inside.filter((file) => patterns.some((pattern) => pattern.test(file))) : inside;
    if (files.length > 0) return { folder, files };
    throw new NotFoundError(`Cannot read rows: no file of ${name} fits data_files ${data_files!.join(", ")}`);
  }
  const [, above, file] = /^(?:(.*)\/)?([^/]+)$/.exec(name) ?? [];
  if (!file || !DATA_FILE.test(file)) return null;
  const parent = siteFolder(above ?? "");
  return (await parent.exists(file)) ? { folder: parent, files: [file] } : null;
}

async function hubOf({ signal, report }: Following): Promise<HubOptions> {
  const room = await roomLeft();
  let asked = false;
  return {
    cache: siteFolder("hub") as Folder,
    signal,
    conditional: false,
    fetch: (input, init) => fetch(input, { ...init, cache: "no-store" }), // the site's storage has them
    onProgress({ file, totalReceived, totalSize }) {
      if (!asked) room.check(totalSize - totalReceived, `download ${file} and its other files`);
      asked = true;
      report(file, totalReceived, totalSize, "bytes");
    },
  };
}

/** Measurements of this browser's adapters, the same as the page's. */
function tuningStore(): TuningStore {
  const store = createStore("qwench-tuning", "adapters");
  return {
    read: async (adapter) => (await get<string>(adapter, store)) ?? null,
    write: (adapter, text) => set(adapter, text, store),
  };
}
