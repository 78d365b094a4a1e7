// For programs in Node and Deno: adapters, folders on disk, and images of rows.

export { type AdapterChoice, type OpenOptions, openAdapter, type Platform } from "./index.ts";
export { nodeFolder } from "./node/fs.ts";
export { nodeImages } from "./node/image-files.ts";
