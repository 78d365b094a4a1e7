// A worker whose folders tests reach into: OPFS appends in workers only.
new Worker(new URL("./folders.worker.ts", import.meta.url), { type: "module" });
