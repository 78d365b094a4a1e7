import { it } from "vitest";
import { useGpu } from "../harness.ts";
import { checkTiles } from "./tiles.ts";

const gpu = useGpu();

it("every tile that tuning may pick gives the same numbers, whatever is added at the end and whether rows are whole", async () => {
  await checkTiles(gpu(), /^((nt|nn) .(130,68,132|65,63,7). bf16|tn .130,68,132. f32)$/, 5);
});
