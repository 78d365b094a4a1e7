// Exports the embedded model as GGUF and checks the file against the original: npx tsx examples/export.ts [FOLDER] [ADAPTER]
import { exportModel } from "qwench";

const [output = "example-gguf", adapter] = process.argv.slice(2);
const writing = exportModel({
  model: "assets/tiny",
  ...(adapter && { adapter }),
  format: "gguf",
  quantization: "q8_0",
  name: "tiny",
  output,
});
let difference = "";
for await (const event of writing) {
  if (event.type === "check") difference = `worst logit difference ${(100 * event.check.worst).toFixed(2)} %`;
  if (event.type === "end") console.log(`${event.files.join(", ")}: ${difference}`);
}
process.exit();
