import { join } from "node:path";
import { usualCache } from "../../platform/node/cache-folder.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { nodeImages } from "../../platform/node/image-files.ts";
import type { CallHost, Following } from "../../session/call/host.ts";
import type { ImageAccess } from "../../session/images.ts";
import { availableMemory, openGpu } from "../runs/open-gpu.ts";
import { tuningStore } from "../runs/tuning.ts";
import { packageVersion } from "../version.ts";
import { openDataset } from "./datasets.ts";
import { embeddedRecipe } from "./embedded.ts";
import { openEnvironment } from "./environment.ts";
import { splitsOwnRows } from "./held-out.ts";
import { type CliHub, hubOptions } from "./hub.ts";
import { openMixture } from "./mixture.ts";
import { rewardPlatform } from "./rewards.ts";
import { openChatTemplate, openModelFolder } from "./sources.ts";

/** How Node and Deno read images; their features are kept in the user's cache. */
export function imageAccess(): ImageAccess {
  const cache = usualCache();
  return nodeImages(cache === null ? null : nodeFolder(join(cache, "features")));
}

function hubOf({ signal, report }: Following): CliHub {
  return hubOptions(signal, ({ file, totalReceived, totalSize }) => report(file, totalReceived, totalSize, "bytes"));
}

let opened: ReturnType<typeof openGpu> | null = null;

/** What Node and Deno provide: the disk, the hub's cache, threads for rewards. The command line reads its sources through it. */
export const nodeHost: CallHost = {
  async openGpu() {
    const opening = (opened ??= openGpu());
    const forget = () => {
      if (opened === opening) opened = null; // the next call opens another
    };
    opening.then(({ gpu }) => gpu.device.lost.then(forget), forget);
    const { gpu, platform } = await opening;
    return { gpu: gpu.again(), describe: platform.describe, available: availableMemory(platform, null) };
  },
  folder: nodeFolder,
  model: (name, revision, following) => openModelFolder(name, revision, hubOf(following)),
  rows: (name, split, fields, model, following) =>
    openDataset(name, split, { system_prompt: null, ...fields }, hubOf(following), model),
  mixture: (datasets, following) => openMixture(datasets, hubOf(following)),
  splitsOwnRows,
  chatTemplate: (path, following) => openChatTemplate(path, hubOf(following)),
  environment: openEnvironment,
  embedded: embeddedRecipe,
  files: () => {
    throw new TypeError("Picked files are for a page: give the folder's path");
  },
  get version() {
    return packageVersion();
  },
  get images() {
    return imageAccess();
  },
  get rewards() {
    return rewardPlatform();
  },
  get tuning() {
    return tuningStore();
  },
};
