// Exports the embedded model as GGUF and checks the file against the original: npx tsx examples/export.ts [FOLDER] [ADAPTER]
import { checkExport, exportPassed, openExport, requestGpu, writeExport } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const [output = "example-gguf", peft] = process.argv.slice(2);
const { adapter, f16, waiting, spares } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"], waiting, spares });

const source = await openExport(nodeFolder("assets/tiny"), peft ? nodeFolder(peft) : null);
const request = { format: "gguf", quantization: "q8_0", name: "tiny", base: "assets/tiny" } as const;
const names = await writeExport(nodeFolder(output), source, request);
const check = await checkExport(gpu, source, nodeFolder(output), request, { tokens: 4 });
console.log(`${names.join(", ")}: worst logit difference ${(100 * check.worst).toFixed(2)} %`);
process.exit(exportPassed(check) ? 0 : 1);
