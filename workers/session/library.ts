import { createStore, get, set } from "idb-keyval";
import type { DataSource, Job, ModelSource, Phase } from "../../src/client/types.ts";
import type { WorkerOptions } from "../../src/client/wire.ts";
import { renamedRows } from "../../src/data/columns.ts";
import { readRows } from "../../src/data/dataset.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import { embeddedPreferences, embeddedRows } from "../../src/data/sets/embedded.ts";
import { FormatError, NetworkError, NotFoundError } from "../../src/errors.ts";
import { blobSource } from "../../src/io/blob.ts";
import { openCheckpoint, WEIGHTS_FILE } from "../../src/io/checkpoint.ts";
import { downloadDataset } from "../../src/io/hub/dataset.ts";
import { downloadModel, type HubOptions } from "../../src/io/hub/hub.ts";
import { lookAtModel } from "../../src/io/hub/remote.ts";
import type { ByteSource, Folder } from "../../src/io/storage.ts";
import { filesFolder } from "../../src/platform/browser/files-folder.ts";
import { opfsRoot, ranges } from "../../src/platform/browser/opfs-folder.ts";
import { roomLeft } from "../../src/platform/browser/quota.ts";
import { show } from "../../src/text/show.ts";
import { storedName } from "./recipes.ts";

/** Receives progress: the activity, bytes or rows done, and the total. */
export type Report = (what: string, done: number, total: number | null) => void;

interface Fetching {
  signal?: AbortSignal | undefined;
  report: Report;
}

/** Where a hub item's files are stored, so that the hub need not be asked again. */
interface Found {
  /** path within the cache */
  path: string;
  files: string[];
}

type HubModel = Extract<ModelSource, { kind: "hub" }>;

const EMBEDDED_FILES = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  WEIGHTS_FILE,
];
/** The files of a picked folder that belong to a model. */
const MODEL_FILE = /\.(safetensors|json|jinja|txt)$/;

/** Models and data sets: those from the hub and from the user are stored in OPFS; the embedded ones come with the page. */
export class Library {
  readonly options: WorkerOptions;
  private readonly index = createStore("qwench-library", "found");
  private embedded: Promise<Folder> | null = null;

  constructor(options: WorkerOptions) {
    this.options = options;
  }

  /** Downloads from the hub, in the layout of Hugging Face's cache. */
  get hub() {
    return opfsRoot().folder("qwench/hub");
  }

  /** The folder of a model. Downloads missing files. */
  async openModel(source: ModelSource, fetching: Fetching): Promise<Folder> {
    switch (source.kind) {
      case "embedded":
        this.embedded ??= this.fetchEmbedded(fetching);
        this.embedded.catch(() => (this.embedded = null));
        return this.embedded;
      case "files":
        return filesFolder(source.name, modelFiles(source.files));
      case "stored":
        return this.openStored(source.id);
      case "hub": {
        const found = await this.foundModel(source);
        if (found) return found;
        const folder = await downloadModel(source.id, {
          ...(await this.hubOptions(fetching)),
          revision: source.revision,
        });
        await set(this.modelKey(source), { path: this.belowHub(folder), files: [] } satisfies Found, this.index);
        return folder;
      }
    }
  }

  /** The same for a forecast: does not download weights. `missing`: bytes of weights still to download. */
  async lookAtModel(source: ModelSource, fetching: Fetching): Promise<{ folder: Folder; missing: number }> {
    if (source.kind !== "hub" || (await this.foundModel(source))) {
      return { folder: await this.openModel(source, fetching), missing: 0 };
    }
    return lookAtModel(source.id, { ...(await this.hubOptions(fetching)), revision: source.revision });
  }

  /** Rows of a data set, with columns renamed by the mapping. Downloads missing files. */
  async openRows(
    source: DataSource,
    split: "train" | "test",
    fetching: Fetching,
  ): Promise<AsyncGenerator<NumberedRow>> {
    const rows = await this.plainRows(source, split, fetching);
    const columns = source.kind === "embedded" ? undefined : source.columns;
    return renamedRows(rows, columns ?? {});
  }

  /** Copies a job's files into OPFS, each once, so that they survive a reload. */
  async keep(job: Job): Promise<Job> {
    const kept = new Map<string, Extract<DataSource, { kind: "stored" }>>();
    const keep = async (source: DataSource): Promise<DataSource> => {
      if (source.kind !== "file") return source;
      const { name, size, lastModified } = source.file;
      const key = `${name} ${size} ${lastModified}`;
      const known = kept.get(key) ?? (await this.keepData(source));
      kept.set(key, known);
      return source.columns ? { ...known, columns: source.columns } : known;
    };
    const phases: Phase[] = [];
    for (const phase of job.phases) phases.push({ ...phase, data: await keep(phase.data) });
    const evaluate = job.evaluate && { ...job.evaluate, data: await keep(job.evaluate.data) };
    return { ...job, model: await this.keepModel(job.model), phases, evaluate };
  }

  private async keepModel(source: ModelSource): Promise<ModelSource> {
    if (source.kind !== "files") return source;
    const files = modelFiles(source.files);
    if (!files.has("config.json")) {
      throw new NotFoundError(`Cannot keep the model ${source.name}: its files do not include a config.json`);
    }
    const id = `models/${slug(source.name)}`;
    await this.copy(id, files);
    return { kind: "stored", id };
  }

  private async keepData(
    source: Extract<DataSource, { kind: "file" }>,
  ): Promise<Extract<DataSource, { kind: "stored" }>> {
    const id = `data/${slug(source.file.name)}`;
    await this.copy(id, new Map([[source.file.name, source.file]]));
    return { kind: "stored", id };
  }

  private async copy(id: string, files: ReadonlyMap<string, Blob>): Promise<void> {
    const bytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
    (await roomLeft()).check(bytes, `keep ${[...files.keys()].slice(0, 3).join(", ")}`);
    const folder = opfsRoot().folder("qwench").folder(id);
    try {
      for (const [name, file] of files) await folder.write(name, ranges(blobSource(name, file)));
    } catch (error) {
      await opfsRoot().folder("qwench").removeFolder(id);
      throw error;
    }
  }

  /** The folder of a stored model. */
  private async openStored(id: string): Promise<Folder> {
    const folder = opfsRoot().folder("qwench").folder(checkStored(id));
    if (!id.startsWith("hub/")) return folder;
    const snapshots = folder.folder("snapshots");
    for (const commit of (await snapshots.folders()).reverse()) {
      if (await isWhole(snapshots.folder(commit))) return snapshots.folder(commit);
    }
    throw new NotFoundError(`Cannot open ${id}: its download is not complete`);
  }

  private async plainRows(
    source: DataSource,
    split: "train" | "test",
    fetching: Fetching,
  ): Promise<AsyncIterable<NumberedRow> | Iterable<NumberedRow>> {
    switch (source.kind) {
      case "embedded":
        return (source.rows === "preferences" ? embeddedPreferences(split) : embeddedRows(split)).map((row, i) => ({
          row: { ...row },
          number: i + 1,
          file: "the embedded problems",
        }));
      case "file":
        return readRows(blobSource(source.file.name, source.file));
      case "stored": {
        if (source.id.startsWith("hub/"))
          return this.plainRows({ kind: "hub", id: storedName(source.id) }, split, fetching);
        const folder = opfsRoot().folder("qwench").folder(checkStored(source.id));
        return rowsOf(await Promise.all((await folder.list()).map((name) => folder.open(name))));
      }
      case "hub": {
        const { folder, files } = await this.hubRows(source.id, source.config, source.split ?? split, fetching);
        return rowsOf(await Promise.all(files.map((name) => folder.open(name))));
      }
    }
  }

  private modelKey({ id, revision = "main" }: HubModel): string {
    return `model ${this.options.hubUrl} ${id} ${revision}`;
  }

  /** The folder of a completely downloaded hub model. Does not ask the hub for newer versions. */
  private async foundModel(source: HubModel): Promise<Folder | null> {
    const found = await get<Found>(this.modelKey(source), this.index);
    const folder = found ? this.hub.folder(found.path) : null;
    return folder && (await isWhole(folder)) ? folder : null;
  }

  private async hubRows(id: string, config: string | undefined, split: string, fetching: Fetching) {
    const key = `data ${this.options.hubUrl} ${id} ${config ?? ""} ${split}`;
    const found = await get<Found>(key, this.index);
    if (found) {
      const folder = this.hub.folder(found.path);
      const here = await Promise.all(found.files.map((name) => folder.exists(name)));
      if (here.every(Boolean)) return { folder, files: found.files };
    }
    const made = await downloadDataset(id, { ...(await this.hubOptions(fetching)), config, split });
    await set(key, { path: this.belowHub(made.folder), files: made.files } satisfies Found, this.index);
    return made;
  }

  private async hubOptions({ signal, report }: Fetching): Promise<HubOptions> {
    const room = await roomLeft();
    let asked = false;
    return {
      cache: this.hub,
      hubUrl: this.options.hubUrl ?? undefined,
      token: this.options.token ?? undefined,
      signal,
      conditional: false,
      // files in OPFS should not also fill the browser's HTTP cache
      fetch: (input, init) => fetch(input, { ...init, cache: "no-store" }),
      onProgress: ({ file, totalReceived, totalSize }) => {
        // check the quota before the download, not after an hour
        if (!asked) room.check(totalSize - totalReceived, `download ${file} and its other files`);
        asked = true;
        report(file, totalReceived, totalSize);
      },
    };
  }

  private belowHub(folder: Folder): string {
    return folder.path.slice(this.hub.path.length + 1);
  }

  private async fetchEmbedded({ signal, report }: Fetching): Promise<Folder> {
    const files = new Map<string, Blob>();
    for (const [i, name] of EMBEDDED_FILES.entries()) {
      report("the embedded model", i, EMBEDDED_FILES.length);
      const url = new URL(`tiny/${name}`, this.options.assets).href;
      let response: Response;
      try {
        response = await fetch(url, { signal });
      } catch (error) {
        signal?.throwIfAborted();
        throw new NetworkError(`Cannot fetch ${url}: ${(error as Error).message}`, { cause: error });
      }
      if (!response.ok) throw new NotFoundError(`Cannot fetch ${url}: the server answered ${response.status}`);
      files.set(name, await response.blob());
    }
    return filesFolder("the embedded model", files);
  }
}

/** @throws {FormatError} the id is not from storage */
export function checkStored(id: string): string {
  if (!/^(hub|models|data)\/[^/]+$/.test(id))
    throw new FormatError(`Cannot open ${show(id)}: it is not an id from storage.list()`);
  return id;
}

/** Whether a folder holds a model that can be opened. */
async function isWhole(folder: Folder): Promise<boolean> {
  try {
    await openCheckpoint(folder);
    return true;
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof FormatError) return false;
    throw error;
  }
}

/** Files by name, without the picked folder's path. */
function modelFiles(files: readonly File[]): Map<string, Blob> {
  return new Map(files.filter(({ name }) => MODEL_FILE.test(name)).map((file) => [file.name, file]));
}

async function* rowsOf(sources: readonly ByteSource[]): AsyncGenerator<NumberedRow> {
  for (const source of sources) yield* readRows(source);
}

/** A safe folder name for a name from the user. */
function slug(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "") || "unnamed";
  return `${plain.slice(0, 60)}-${crypto.randomUUID().slice(0, 8)}`;
}
