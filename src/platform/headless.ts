// For programs in Node and Deno: adapters, and folders on disk.

export { type AdapterChoice, type OpenOptions, openAdapter, type Platform } from "./index.ts";
export { nodeFolder } from "./node/fs.ts";
