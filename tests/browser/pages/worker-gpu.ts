// Opens the GPU in a worker, as the trainer does, and has a number pair there and back.
const worker = new Worker(new URL("./gpu.worker.ts", import.meta.url), { type: "module" });
worker.onmessage = ({ data }) => Object.assign(globalThis, { answer: data });
