import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../src/errors.ts";
import { readTorchFile } from "../../src/io/torch-file.ts";
import { cpuTime } from "../cpu-time.ts";

/** Two matrices written by torch.save 2.13. */
const whole = new Uint8Array(readFileSync(`${import.meta.dirname}/../../scripts/attack/seeds/adapter_model.bin`));

describe("a .bin file of torch", () => {
  it("is read", () => {
    const tensors = readTorchFile(whole, "a.bin");
    expect([...tensors].map(([name, { dtype, shape }]) => [name.slice(-13), dtype, shape])).toEqual([
      ["lora_A.weight", "F32", [2, 4]],
      ["lora_B.weight", "BF16", [4, 2]],
    ]);
  });

  it("is refused at once if its directory is wrong", () => {
    const view = new DataView(whole.buffer);
    const end = whole.length - 22;
    const large = view.getUint32(end - 12, true);
    const changed = (at: number, value: number): Uint8Array => {
      const made = Uint8Array.from(whole);
      new DataView(made.buffer).setUint32(at, value, true);
      return made;
    };
    const spent = cpuTime();
    for (const [bytes, why] of [
      [changed(large + 32, 0xffffffff), "it has 4294967295 files; at most 100000 are read"],
      [changed(large + 32, 50_000), /entry \d+ of its directory is outside the file/],
      [changed(large + 48, 0xfffffff0), "entry 1 of its directory is outside the file"],
      [changed(view.getUint32(large + 48, true) + 20, 0xffffffff), "entry 1 of its directory is above 4 GB"],
      [whole.subarray(0, 20), "it has no directory"],
    ] as const) {
      expect(() => readTorchFile(bytes, "a.bin")).toThrow(FormatError);
      expect(() => readTorchFile(bytes, "a.bin")).toThrow(why);
    }
    expect(spent()).toBeLessThan(5);
  });
});
