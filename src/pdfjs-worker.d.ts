/** pdf.js's worker as a module: pdf.js finds it as `globalThis.pdfjsWorker` and then needs no worker of its own. */
declare module "pdfjs-dist/legacy/build/pdf.worker.mjs";
