// For programs in Node and Deno: an adapter, and folders of the disk.

export { type AdapterChoice, type OpenOptions, openAdapter, type Platform } from "./index.ts";
export { nodeFolder } from "./node/fs.ts";
